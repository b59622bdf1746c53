// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>
#include <sky/name.hpp>

#include <filesystem>

namespace sky {

/// Where things lie below the state directory: the one place that joins names to paths
/// (doc/interfaces.md "State").
class State {
  public:
    explicit State(std::filesystem::path root) : root_(std::move(root)) {}
    explicit State(const Config& config) : root_(config.state) {}

    using Path = std::filesystem::path;
    [[nodiscard]] const Path& root() const noexcept { return root_; }
    [[nodiscard]] Path marker() const { return root_ / "storage.json"; }
    [[nodiscard]] Path tenant(const Tenant& t) const { return root_ / "tenants" / t.str(); }
    [[nodiscard]] Path repos(const Tenant& t) const { return tenant(t) / "repos"; }
    [[nodiscard]] Path repo(const Tenant& t, const Repo& r) const {
        return repos(t) / (r.str() + ".git");
    }
    [[nodiscard]] Path cell(const Tenant& t) const { return tenant(t) / "cell"; }
    [[nodiscard]] Path builds(const Tenant& t) const { return tenant(t) / "builds"; }
    [[nodiscard]] Path locks(const Tenant& t) const { return tenant(t) / "locks"; }
    [[nodiscard]] Path outbox(const Tenant& t) const { return tenant(t) / "outbox"; }
    [[nodiscard]] Path cache(const Tenant& t) const { return root_ / "cache" / t.str(); }
    [[nodiscard]] Path keys() const { return root_ / "keys"; }
    [[nodiscard]] Path deployments(const MachinePath& m) const { return below("deployments", m); }
    [[nodiscard]] Path deployment(const MachinePath& m, const Revision& rev) const {
        return deployments(m) / (rev.str() + ".json");
    }
    [[nodiscard]] Path gcroot(const MachinePath& m) const { return below("gcroots", m); }
    [[nodiscard]] Path record(const MachinePath& m) const {
        return root_ / "records" / m.tenant.str() / m.repo.str() / (m.machine.str() + ".json");
    }
    [[nodiscard]] Path store(const Tenant& t) const { return root_ / "store" / t.str(); }
    [[nodiscard]] Path vm(const MachinePath& m) const { return root_ / "vm" / m.joined(); }
    [[nodiscard]] Path volumes(const MachinePath& m) const { return below("volumes", m); }
    [[nodiscard]] Path registry() const { return root_ / "registry.json"; }
    [[nodiscard]] Path net() const { return root_ / "net"; }

  private:
    [[nodiscard]] Path below(const char* what, const MachinePath& m) const {
        return root_ / what / m.tenant.str() / m.repo.str() / m.machine.str();
    }
    Path root_;
};

/// Checks that the state directory carries the marker with the configuration's id.
/// Throws Error(kUnavailable): not mounted must never look like empty.
void check_storage(const Config& config);

} // namespace sky
