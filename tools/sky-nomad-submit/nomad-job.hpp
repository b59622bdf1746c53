// SPDX-License-Identifier: MIT
#pragma once

#include "sky-nomad-submit/room.hpp"
#include "sky-nomad-submit/scheduler.hpp"

#include <sky/config.hpp>
#include <sky/json.hpp>
#include <sky/spec.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sky::submit {

/// Where a machine may run, beside what the operator says for all.
struct Where {
    std::optional<std::string> host = {};     ///< that has its volumes of a local class
    std::vector<std::string> placements = {}; ///< granted to it
    std::vector<std::string> not_on = {};     ///< hosts of those that it shall not be beside
};

/// Nomad's job of a machine: doc/interfaces.md "Job". Pure.
[[nodiscard]] Json nomad_job(const Config& config, const Spec& spec, const Where& where);

/// What it takes of a host in Nomad's accounts.
[[nodiscard]] Demand demand_of(const Config& config, const Spec& spec);
[[nodiscard]] Demand demand_of(const Config& config, const Amount& granted);

/// `job` as it can be registered over `there`, a job of the same spec, without a restart: what
/// would cause one stays as it was registered first.
[[nodiscard]] Json without_restart(Json job, const Json& there);

/// Where `there`, which Nomad read back, lacks or changes something of `sent`: the key's path, or
/// nothing. What Nomad adds does not count. Nomad drops keys that it does not know without a word,
/// and some of them keep a second copy from being started.
[[nodiscard]] std::optional<std::string> changed_by_nomad(const Json& sent, const Json& there);

/// What is read of an allocation.
struct Allocation {
    std::string id;
    std::string job;
    std::string name_space;
    std::string node;   ///< its name: a host
    std::string wanted; ///< run, stop, evict
    std::string state;  ///< pending, running, complete, failed, lost, unknown
    std::uint64_t create_index = 0;
    std::uint64_t job_version = 0;
    std::string event; ///< what Nomad said last about the leader task

    [[nodiscard]] static Allocation of(const Json& stub);
    /// Its processes are gone, as far as its host could tell. `lost` is not.
    [[nodiscard]] bool ended() const { return state == "complete" || state == "failed"; }
};
[[nodiscard]] std::vector<Allocation> allocations_of(const Json& list);
/// The one created last, or nothing.
[[nodiscard]] const Allocation* newest(const std::vector<Allocation>& all);

/// A machine as its job, the newest allocation and what its supervisor said last show it. `said` is
/// a hint: it counts when it is of that allocation. `home`: the host that has its local volumes.
[[nodiscard]] MachineState nomad_state(const Json& job, const Allocation* newest,
                                       const std::optional<MachineState>& said,
                                       const std::optional<std::string>& home);

/// The spec's hash of a job that is not stopped; empty: none.
[[nodiscard]] std::string spec_of(const std::optional<Json>& job);

} // namespace sky::submit
