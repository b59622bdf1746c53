// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>
#include <sky/name.hpp>

#include <filesystem>

namespace sky {

/// Where things lie below the state directories, the host's own and the one that a cluster shares:
/// the one place that joins names to paths (doc/interfaces.md "State", "Cluster").
class State {
  public:
    explicit State(const std::filesystem::path& root) : root_(root), shared_(root) {}
    explicit State(const Config& config) : root_(config.state), shared_(config.shared) {}

    using Path = std::filesystem::path;
    [[nodiscard]] const Path& root() const noexcept { return root_; }
    [[nodiscard]] const Path& shared() const noexcept { return shared_; }
    [[nodiscard]] Path marker() const { return shared_ / "storage.json"; }
    [[nodiscard]] Path tenant(const Tenant& t) const { return root_ / "tenants" / t.str(); }
    [[nodiscard]] Path shared_tenant(const Tenant& t) const {
        return shared_ / "tenants" / t.str();
    }
    [[nodiscard]] Path repos(const Tenant& t) const { return shared_tenant(t) / "repos"; }
    [[nodiscard]] Path repo(const Tenant& t, const Repo& r) const {
        return repos(t) / (r.str() + ".git");
    }
    [[nodiscard]] Path cell(const Tenant& t) const { return tenant(t) / "cell"; }
    [[nodiscard]] Path builds(const Tenant& t) const { return shared_tenant(t) / "builds"; }
    [[nodiscard]] Path locks(const Tenant& t) const { return shared_tenant(t) / "locks"; }
    [[nodiscard]] Path outbox(const Tenant& t) const { return tenant(t) / "outbox"; }
    [[nodiscard]] Path cache(const Tenant& t) const { return shared_ / "cache" / t.str(); }
    [[nodiscard]] Path keys() const { return shared_ / "keys"; }
    [[nodiscard]] Path deployments(const MachinePath& m) const { return below("deployments", m); }
    [[nodiscard]] Path deployment(const MachinePath& m, const Revision& rev) const {
        return deployments(m) / (rev.str() + ".json");
    }
    [[nodiscard]] Path gcroot(const MachinePath& m) const { return below("gcroots", m); }
    [[nodiscard]] Path record(const MachinePath& m) const {
        return shared_ / "records" / m.tenant.str() / m.repo.str() / (m.machine.str() + ".json");
    }
    /// What the machine's supervisor on `host` said last, for other hosts. Each host has a file of
    /// its own: who was cut off and does not know it yet covers up nothing that its successor says.
    [[nodiscard]] Path said(const MachinePath& m, const std::string& host) const {
        return below("states", m) / (host + ".json");
    }
    [[nodiscard]] Path store(const Tenant& t) const { return root_ / "store" / t.str(); }
    [[nodiscard]] Path vm(const MachinePath& m) const { return root_ / "vm" / m.joined(); }
    [[nodiscard]] Path volumes(const MachinePath& m, VolumeClass::Kind kind) const {
        const Path& root = kind == VolumeClass::Kind::kLocal ? root_ : shared_;
        return root / "volumes" / m.tenant.str() / m.repo.str() / m.machine.str();
    }
    [[nodiscard]] Path registry() const { return shared_ / "registry.json"; }
    [[nodiscard]] Path net() const { return root_ / "net"; }
    /// Until when this host may write to leased volumes, and in which incarnation.
    [[nodiscard]] Path deadline() const { return root_ / "lease.deadline"; }

  private:
    [[nodiscard]] Path below(const char* what, const MachinePath& m) const {
        return shared_ / what / m.tenant.str() / m.repo.str() / m.machine.str();
    }
    Path root_;
    Path shared_;
};

/// Checks that the shared directory carries the marker with the configuration's id.
/// Throws Error(kUnavailable): not mounted must never look like empty.
void check_storage(const Config& config);

} // namespace sky
