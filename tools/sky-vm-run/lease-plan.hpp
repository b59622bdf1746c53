// SPDX-License-Identifier: MIT
#pragma once

#include <sky/lease.hpp>

#include <cstdint>
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

} // namespace sky::vm
