// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/owner.hpp>
#include <sky/lease.hpp>

#include <chrono>
#include <optional>
#include <string>

namespace sky::vm {

/// What the holder of a lease does next.
enum class Hold {
    kRenew, ///< the record is its own: let go what is claimed, write the next serial
    kFall,  ///< it is not, or was revoked: end every leased machine, then begin anew
};
/// Given what stands there and the incarnation that the holder's processes count on. Pure.
[[nodiscard]] Hold plan_hold(const std::optional<LeaseRecord>& there,
                             const std::string& incarnation);

/// The record after `there` in which `host` holds its lease as `incarnation`. Claims stay, but with
/// another incarnation. Pure but for the time.
[[nodiscard]] LeaseRecord renewed(const std::optional<LeaseRecord>& there, const std::string& host,
                                  const std::string& incarnation, std::int64_t lease_s);

/// What one host sees of another's lease, by its own clock alone.
class Sight {
  public:
    using Clock = std::chrono::steady_clock;

    /// The record as it was read at `now`.
    void saw(const LeaseRecord& lease, Clock::time_point now);
    /// What that means for who wants the machine of `record`. `down`: the scheduler holds the host
    /// down. `wait`: so long after a host was cut off the filesystem takes its writes. Call saw()
    /// first. Pure.
    [[nodiscard]] Lease judge(const std::string& machine, const Owner& record, bool down,
                              std::chrono::seconds wait, Clock::time_point now) const;

  private:
    LeaseRecord lease_;
    Clock::time_point since_;   ///< this serial of this incarnation was seen first
    Clock::time_point revoked_; ///< it was first seen revoked
};

} // namespace sky::vm
