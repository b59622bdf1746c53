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
    Demand& operator+=(const Demand& other);
    bool operator==(const Demand&) const = default;
};

/// What takes room somewhere.
struct Tenancy {
    Demand demand;
    std::string job = {}; ///< NAMESPACE/ID
    bool stays = false;   ///< it goes nowhere else when its host dies: it waits, or is one per host
};

/// A host as Nomad counts it.
struct Room {
    std::string host;
    std::string why_not; ///< takes nothing now: Nomad's "down", or "drained"; empty: it does
    Demand whole;        ///< less what is reserved for the host itself
    std::map<std::string, Tenancy> machines; ///< by allocation

    [[nodiscard]] Demand left() const;
};

/// From `/v1/nodes?resources=true` and `/v1/allocations?resources=true`; by host.
[[nodiscard]] std::vector<Room> rooms_of(const Json& nodes, const Json& allocations);

/// What each host lacks for `demand`: "n1 lacks 512 MiB, n2 is down". `only`: it may run nowhere
/// else.
[[nodiscard]] std::string lacking(const std::vector<Room>& rooms, const Demand& demand,
                                  const std::optional<std::string>& only);

/// A host with room for it is away, or is not ready for it, as all may be for a moment once Nomad's
/// leader changed: it is worth to ask again. Not so where it is room that lacks.
[[nodiscard]] bool may_fit_soon(const std::vector<Room>& rooms, const Demand& demand,
                                const std::optional<std::string>& only);

/// As if the hosts that are away were back; drained ones stay drained.
[[nodiscard]] std::vector<Room> with_all_back(std::vector<Room> rooms);

/// Something that shall run and has no place yet, or shall get one. `only`: it can run nowhere
/// else.
struct Wanted {
    Demand demand;
    std::optional<std::string> only = std::nullopt;
};

/// What N+1 lacks, in numbers.
struct Unspared {
    std::string host; ///< the one that must not die
    Demand asked;
    Demand used;    ///< by what would have to run on the others
    Demand allowed; ///< what they have in all
    /// "n1 must not die: mem_mib: asked 704, used 1500, allowed 2000 without it"
    [[nodiscard]] std::string text() const;
    bool operator==(const Unspared&) const = default;
};

/// N+1: with `asked` on top, and `others` that have no place yet, could the machines of any one
/// host still find a place on the others? What lacks, or nothing. Machines go where most is left,
/// the largest first; one that is held to a lost host needs no place, it waits.
[[nodiscard]] std::optional<Unspared>
not_spared(const std::vector<Room>& rooms, const Wanted& asked, const std::vector<Wanted>& others);

} // namespace sky::submit
