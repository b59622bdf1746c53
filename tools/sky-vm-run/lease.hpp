// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/deadline.hpp>
#include <sky-vm-run/lease-plan.hpp>
#include <sky/config.hpp>
#include <sky/nomad/leases.hpp>

#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

namespace sky::vm {

/// What the holder of a lease does to its host.
struct HoldEffects {
    /// Ends every machine with leased volumes; returns when none lives. Throws Error if one does.
    std::function<void()> end_all;
    /// Sees to it that a machine is given up that somebody claims, without waiting for that. True
    /// once there is nothing of it to give up any more.
    std::function<bool(const LeaseClaim&)> give_up;
};

/// Holds one host's lease: what `sky-vm-run lease` does, a renewal at a time.
class LeaseHolder {
  public:
    /// `file`: the deadline for the guards. Refers to the store. Throws SysError.
    LeaseHolder(LeaseStore& store, std::string host, std::chrono::seconds length,
                std::filesystem::path file, HoldEffects effects);

    /// One try to renew. True: held until now + length. False: somebody changed the record; try
    /// again at once. Throws Error, above all kUnavailable without contact: nothing has changed,
    /// and the deadline stands.
    bool renew();
    [[nodiscard]] const Deadline& deadline() const noexcept { return deadline_; }

  private:
    void fall();

    LeaseStore& store_;
    std::string host_;
    std::chrono::seconds length_;
    std::filesystem::path file_;
    HoldEffects effects_;
    Deadline deadline_;
    std::optional<LeaseStore::Read> known_;
};

/// Verb `lease` (root, in the foreground, one per host): renews the host's lease every third of its
/// length until SIGTERM or SIGINT. It may die and come back at any time: machines live until the
/// deadline, and a renewal before that goes on where the last one ended.
int lease_verb(const Config& config);

/// Verb `release` (hidden, root): ends the machine, if the owner record names this host and that
/// generation, and writes `released` when nothing of it lives.
int release_verb(const Config& config, const MachinePath& machine, std::uint64_t generation);

} // namespace sky::vm
