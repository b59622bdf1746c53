// SPDX-License-Identifier: MIT
#pragma once

#include <sky/nomad/leases.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sky::vm {

/// Who has a machine, doc/interfaces.md "Owner". Changed by compare-and-set alone.
struct Owner {
    std::uint64_t generation = 0; ///< one more with each start; never goes back
    std::string host;
    std::string incarnation; ///< of the host: 32 hex digits
    std::string alloc;       ///< Nomad's allocation; empty: a single host
    std::uint64_t create_index = 0;
    std::vector<std::string> storage = {}; ///< storage clients that had it open last, fenced or not
    bool leased = false;   ///< other hosts can open its volumes: it lives by its host's lease
    bool opened = false;   ///< leased volumes: its hypervisor may have begun
    bool released = false; ///< nothing of this generation lives
    std::string at = {};   ///< RFC 3339

    bool operator==(const Owner&) const = default;
    /// Error(kData).
    [[nodiscard]] static Owner parse(std::string_view json);
    [[nodiscard]] std::string dump() const;
};

/// Who wants a machine: one supervisor, on one host.
struct Claimant {
    std::string host;
    std::string incarnation;
    std::string alloc; ///< empty: a single host
};

/// One allocation of a machine's job, as Nomad tells it.
struct Allocation {
    std::string id;
    std::uint64_t create_index = 0;
    bool shall_run = false; ///< Nomad's desired status
    bool ended = false;     ///< complete, failed or lost; lost may still live
};

/// What a supervisor knows when it asks whether it may start.
struct Question {
    Claimant me;
    std::optional<Owner> record;
    std::uint64_t held = 0;                ///< the generation that it took itself; 0: none
    std::optional<std::uint64_t> living{}; ///< generation of the machine that lives on this host
    std::vector<Allocation> allocations{}; ///< of the machine's job; not asked on a single host
    std::optional<Lease> lease{};          ///< nothing: the record's host holds none
};

enum class Verdict {
    kKeep,   ///< the record says this very claimant, and its machine lives: go on
    kTake,   ///< write the next generation, then start (or go on with what lives)
    kWait,   ///< not yet
    kClaim,  ///< not yet: ask the host that has it
    kRevoke, ///< not yet: take that host's lease away
    kNever,  ///< another has it, or shall have it: do not ask again
};
struct Decision {
    Verdict verdict = Verdict::kWait;
    std::string why = {}; ///< but for kKeep and kTake: for people
};

/// The rules of doc/interfaces.md "Owner". Pure.
[[nodiscard]] Decision decide(const Question& question);

/// Whether a machine of generation `living` that lives on the claimant's host is the one that the
/// record means. Any other is somebody's past and must end. Pure.
[[nodiscard]] bool rightful(const std::optional<Owner>& record, const Claimant& me,
                            std::uint64_t living);

/// The record that `me` writes to take the machine after `record`. `leased`: it needs this host's
/// lease. It names the storage clients of the one before, until they are fenced and it has its own.
/// Pure but for the time.
[[nodiscard]] Owner successor(const std::optional<Owner>& record, const Claimant& me,
                              std::uint64_t create_index, bool leased);

/// Whom a record names.
[[nodiscard]] Holder holder_of(const Owner& record);

} // namespace sky::vm
