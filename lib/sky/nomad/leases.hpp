// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/deadline.hpp>
#include <sky-vm-run/lease-plan.hpp>
#include <sky-vm-run/lease-store.hpp>

#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

namespace sky::vm {

/// A supervisor's view of leases: its own host's, and that of the host which it wants a machine
/// from. Refers to its store.
class Leases {
  public:
    /// `host`, `machine`: who asks, for what. `own`: the file of this host's deadline. `wait`: W.
    Leases(LeaseStore& store, std::string host, std::string machine, std::filesystem::path own,
           std::chrono::seconds wait)
        : store_(store), host_(std::move(host)), machine_(std::move(machine)), own_(std::move(own)),
          wait_(wait) {}

    /// The incarnation in which this host holds its lease; nothing: it does not.
    [[nodiscard]] std::optional<std::string> mine() const;
    /// The lease of the host that `record` names; nothing: it never held one. Throws
    /// Error(kUnavailable).
    [[nodiscard]] std::optional<Lease> of(const Owner& record);
    /// Asks its holder for the machine. What came of it is seen the next time. Throws as of().
    void claim(const Owner& record);
    /// Takes the whole host's lease away. As claim().
    void revoke(const Owner& record);

  private:
    struct Seen {
        Sight sight;
        LeaseStore::Read last; ///< what was judged is what is changed, or nothing is
    };
    /// The lease under which `record` was taken, if it is the one that was seen last.
    Seen* seen(const Owner& record);

    LeaseStore& store_;
    std::string host_;
    std::string machine_;
    std::filesystem::path own_;
    std::chrono::seconds wait_;
    std::map<std::string, Seen> seen_{}; ///< by host
};

} // namespace sky::vm
