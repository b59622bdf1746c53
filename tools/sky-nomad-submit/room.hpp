// SPDX-License-Identifier: MIT
#pragma once

#include <sky/json.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace sky::submit {

/// What a machine takes of a host, in Nomad's units.
struct Demand {
    std::int64_t mhz = 0;
    std::int64_t mib = 0;
    bool operator==(const Demand&) const = default;
};

/// A host as Nomad counts it.
struct Room {
    std::string host;
    std::string why_not; ///< takes nothing now: "down", "drained"; empty: it does
    Demand whole;        ///< less what is reserved for the host itself
    std::map<std::string, Demand> machines; ///< by allocation

    [[nodiscard]] Demand left() const;
};

/// From `/v1/nodes?resources=true` and `/v1/allocations?resources=true`; by host.
[[nodiscard]] std::vector<Room> rooms_of(const Json& nodes, const Json& allocations);

/// What each host lacks for `demand`: "n1 lacks 512 MiB, n2 is down". `only`: it may run nowhere
/// else.
[[nodiscard]] std::string lacking(const std::vector<Room>& rooms, const Demand& demand,
                                  const std::optional<std::string>& only);

/// N+1: with `demand` on top, could the machines of any one host still find a place on the others?
/// The host for which they could not, or nothing. Machines go where most is left, the largest
/// first.
[[nodiscard]] std::optional<std::string> not_spared(const std::vector<Room>& rooms,
                                                    const Demand& demand);

} // namespace sky::submit
