// SPDX-License-Identifier: MIT
#include "sky-nomad-submit/nomad-scheduler.hpp"

#include <sky/error.hpp>
#include <sky/log.hpp>
#include <sky/registry.hpp>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

namespace sky::submit {
namespace {

using nomad::Client;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr int kRegisterTries = 3;
constexpr milliseconds kLook{500}; ///< between two looks at what is in the way

std::uint64_t modify_index(const std::optional<Json>& job) {
    return job ? job->at("JobModifyIndex").get<std::uint64_t>() : 0;
}

/// What Nomad says to a dry run: nobody can take it.
bool unplaceable(const Json& plan) {
    const auto at = plan.find("FailedTGAllocs");
    return at != plan.end() && at->is_object() && !at->empty();
}

} // namespace

std::optional<std::string> NomadScheduler::home(const MachinePath& path) const {
    return home_of(load_registry(config_), path);
}

/// One try to have the job registered: its version, or nothing when somebody else was quicker, or
/// an answer got lost: look again.
std::optional<std::uint64_t> NomadScheduler::entered(const Spec& spec, const Json& job) {
    auto there = nomad().find(job_path(spec.path), in(spec.path));
    const bool same = spec_of(there) == spec.hash();
    const Json wanted = same ? without_restart(job, *there) : job;
    if (same && !changed_by_nomad(wanted, *there)) {
        return there->at("Version").get<std::uint64_t>();
    }
    if (!same) {
        make_way(spec, job);
        there = nomad().find(job_path(spec.path), in(spec.path));
    }
    try {
        nomad().put(
            "jobs", in(spec.path),
            {{"Job", wanted}, {"EnforceIndex", true}, {"JobModifyIndex", modify_index(there)}},
            Client::Again::kNever);
    } catch (const nomad::AnswerLost& e) {
        log::debug("{}: looking again", e.what());
        return std::nullopt;
    } catch (const Error& e) {
        if (e.code() != ExitCode::kBusy) {
            throw;
        }
        return std::nullopt;
    }
    const Json now = nomad().get(job_path(spec.path), in(spec.path));
    if (spec_of(now) != spec.hash()) {
        return std::nullopt;
    }
    if (const auto key = changed_by_nomad(wanted, now)) {
        fail(ExitCode::kConfig,
             "nomad did not take '{}' of a job (Nomad 1.10.2 or newer is needed)", *key);
    }
    return now.at("Version").get<std::uint64_t>();
}

/// Where they are now, sorted.
std::vector<std::string> NomadScheduler::hosts_of(const std::vector<MachinePath>& machines) {
    std::set<std::string> out;
    for (const auto& path : machines) {
        for (const auto& each : allocations(path)) {
            if (each.wanted == "run" && !each.ended()) {
                out.insert(each.node);
            }
        }
    }
    return {out.begin(), out.end()};
}

/// Registers the job, unless it is there as it should be. Its version.
std::uint64_t NomadScheduler::enter(const Spec& spec, const Placing& placing) {
    const Where where{.host = home(spec.path),
                      .placements = placing.placements,
                      .not_on = hosts_of(placing.apart)};
    for (int round = 0; round < kRegisterTries; ++round) {
        if (const auto version = entered(spec, nomad_job(config_, spec, where))) {
            return *version;
        }
    }
    fail(ExitCode::kBusy, "nomad: somebody else keeps changing the job of '{}'", spec.path.text());
}

std::optional<NomadScheduler::InTheWay> NomadScheduler::in_the_way(const Spec& spec,
                                                                   const Json& job) {
    const auto all = allocations(spec.path);
    const bool runs = std::any_of(all.begin(), all.end(), [](const Allocation& a) {
        return a.wanted == "run" && a.state == "running";
    });
    if (runs && unplaceable(nomad().put(job_path(spec.path) + "/plan", in(spec.path),
                                        {{"Job", job}, {"Diff", false}}, Client::Again::kSafe))) {
        const auto hosts = rooms(spec.path);
        const auto demand = demand_of(config_, spec);
        const auto only = home(spec.path);
        return InTheWay{.why = "no host has room: " + lacking(hosts, demand, only),
                        .passing = may_fit_soon(hosts, demand, only)};
    }
    for (const Allocation& each : all) {
        if (each.state == "unknown") { // it is held to its host, and may live: nothing is changed
            return InTheWay{.why = fmt::format("not replaced: host {} is not heard of", each.node),
                            .passing = true};
        }
    }
    return std::nullopt;
}

/// Ends what runs, for a job that takes its place. What runs goes on while there is no room for the
/// other. Hosts that are away are waited for: a new leader of Nomad's may take all of them for
/// lost, until it hears of them.
void NomadScheduler::make_way(const Spec& spec, const Json& job) {
    const auto limit = Clock::now() + seconds(config_.nomad->place_s);
    while (const auto found = in_the_way(spec, job)) {
        if (!found->passing || Clock::now() > limit) {
            throw Error(ExitCode::kUnavailable, found->why);
        }
        std::this_thread::sleep_for(kLook);
    }
    if (const auto why = end(spec.path)) {
        fail(ExitCode::kUnavailable, "not replaced: {}", *why);
    }
}

} // namespace sky::submit
