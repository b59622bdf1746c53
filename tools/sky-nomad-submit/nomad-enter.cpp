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

constexpr milliseconds kLook{500};
constexpr seconds kSlack{60};
constexpr seconds kRelease{20}; ///< for what runs on a host that says so itself: `cleanup`
constexpr int kRegisterTries = 3;
constexpr std::size_t kOwnerMost = std::size_t{64} << 10;

std::uint64_t modify_index(const std::optional<Json>& job) {
    return job ? job->at("JobModifyIndex").get<std::uint64_t>() : 0;
}

/// What Nomad says to a dry run: nobody can take it.
bool unplaceable(const Json& plan) {
    const auto at = plan.find("FailedTGAllocs");
    return at != plan.end() && at->is_object() && !at->empty();
}

/// The allocation that the owner record names is one that Nomad has lost sight of.
bool lost(const std::vector<Allocation>& all, const std::optional<NomadScheduler::Owner>& owner) {
    return owner && !owner->released &&
           std::any_of(all.begin(), all.end(), [&](const Allocation& a) {
               return a.id == owner->alloc && a.state == "lost";
           });
}

} // namespace

std::optional<std::string> NomadScheduler::home(const MachinePath& path) const {
    return home_of(load_registry(config_.shared), path);
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

/// Ends what runs, for a job that takes its place. What runs goes on while there is no room for the
/// other.
void NomadScheduler::make_way(const Spec& spec, const Json& job) {
    const auto all = allocations(spec.path);
    const bool runs = std::any_of(all.begin(), all.end(), [](const Allocation& a) {
        return a.wanted == "run" && a.state == "running";
    });
    if (runs && unplaceable(nomad().put(job_path(spec.path) + "/plan", in(spec.path),
                                        {{"Job", job}, {"Diff", false}}, Client::Again::kSafe))) {
        fail(ExitCode::kUnavailable, "no host has room: {}",
             lacking(rooms(spec.path), demand_of(config_, spec), home(spec.path)));
    }
    for (const Allocation& each : all) {
        if (each.state == "unknown") { // it is held to its host, and may live: nothing is changed
            fail(ExitCode::kUnavailable, "not replaced: host {} is not heard of", each.node);
        }
    }
    const auto why = end(spec.path);
    // Of a host that is lost nothing is heard any more. The new copy waits until it may.
    if (why && !lost(allocations(spec.path), owner(spec.path))) {
        fail(ExitCode::kUnavailable, "not replaced: {}", *why);
    }
}

/// The host that the owner record names is lost: the next allocation takes the machine over by the
/// rules of leases, if it is left to. Waits for that, so that a burnt host blocks nothing.
void NomadScheduler::wait_for_takeover(const MachinePath& path) {
    std::int64_t wait_s = 0;
    for (const auto& [name, of] : config_.volumes.classes) {
        wait_s = std::max(wait_s, of.wait_s);
    }
    const auto limit = Clock::now() + seconds(2 * config_.nomad->lease_s + wait_s) + kSlack;
    while (Clock::now() < limit && lost(allocations(path), owner(path))) {
        std::this_thread::sleep_for(kLook);
    }
}

/// Stops the job and waits until nothing of the machine lives: each allocation has ended and the
/// owner record says so too. Why it does not, if it does not.
std::optional<std::string> NomadScheduler::end(const MachinePath& path) {
    const auto job = nomad().find(job_path(path), in(path));
    if (job && !job->value("Stop", false)) {
        wait_for_takeover(path);
        nomad().remove(job_path(path), in(path));
    }
    const auto limit = Clock::now() + seconds(config_.machine.stop_s) + kSlack;
    std::optional<Clock::time_point> ended;
    for (;;) {
        const auto all = allocations(path);
        const auto runs = std::find_if(all.begin(), all.end(), [](const Allocation& a) {
            return !a.ended() && a.state != "lost";
        });
        const auto had = owner(path);
        if (runs == all.end() && (!had || had->released)) {
            return std::nullopt;
        }
        if (runs == all.end() && lost(all, had)) {
            return fmt::format("host {} is not heard of", had->host);
        }
        // Its host says that it ended, and was started anew before it could release it. Whoever
        // starts it next asks the owner record again.
        ended = runs != all.end() ? std::nullopt : ended ? ended : std::optional(Clock::now());
        if (ended && Clock::now() - *ended > kRelease) {
            return std::nullopt;
        }
        if (!ended && Clock::now() > limit) {
            return runs->state == "unknown" ? fmt::format("host {} is not heard of", runs->node)
                                            : fmt::format("it does not end on {}", runs->node);
        }
        std::this_thread::sleep_for(kLook);
    }
}

/// Who has it, or had it: the owner record.
std::optional<NomadScheduler::Owner> NomadScheduler::owner(const MachinePath& path) {
    const auto record = nomad().variable(
        fmt::format("sky/owner/{}/{}/{}", path.tenant.str(), path.repo.str(), path.machine.str()));
    if (!record) {
        return std::nullopt;
    }
    const Json value = parse_json(record->json, kOwnerMost, "owner");
    Fields f(value, "owner");
    return Owner{.host = f.string("host"),
                 .alloc = f.optional_string("alloc").value_or(""),
                 .released = f.boolean("released")};
}

} // namespace sky::submit
