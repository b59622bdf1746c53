// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sky {

/// Somebody wants a machine that the host of a lease has.
struct LeaseClaim {
    std::string machine;          ///< alice.infra.www
    std::uint64_t generation = 0; ///< of its owner record: any other is no matter of this claim
    std::string by;               ///< who asks, for people
    bool operator==(const LeaseClaim&) const = default;
};

/// A host's lease, doc/interfaces.md "Lease". Changed by compare-and-set alone.
struct LeaseRecord {
    std::string host;
    std::string incarnation;   ///< 32 hex digits: another one is a host of which nothing is left
    std::uint64_t serial = 0;  ///< one more with each renewal, and touched by nobody else
    std::int64_t lease_s = 30; ///< how long a renewal holds
    bool revoked = false;      ///< every later renewal fails
    std::vector<LeaseClaim> claims = {};
    std::string at = {}; ///< RFC 3339; for people

    bool operator==(const LeaseRecord&) const = default;
    /// Error(kData).
    [[nodiscard]] static LeaseRecord parse(std::string_view json);
    [[nodiscard]] std::string dump() const;
    [[nodiscard]] bool claimed(std::string_view machine, std::uint64_t generation) const;
};

/// The variable that holds it.
[[nodiscard]] std::string lease_variable(std::string_view host);

} // namespace sky
