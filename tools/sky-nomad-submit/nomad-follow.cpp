// SPDX-License-Identifier: MIT
#include "sky-nomad-submit/nomad-scheduler.hpp"

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/fd.hpp>

#include <nlohmann/json.hpp>
#include <thread>

namespace sky::submit {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kLook{100};     ///< between two looks at what the supervisor said
constexpr milliseconds kAskNomad{500}; ///< between two looks at the allocations
constexpr seconds kFetch{3600};        ///< silence while a closure is unpacked

} // namespace

Outcome failed_because(const std::optional<MachineState>& last, const MachinePath& path,
                       const std::string& why) {
    MachineState state = last.value_or(MachineState{.path = path});
    state.state = "failed";
    state.why = why;
    return {.exit_code = 1, .last = state, .said = why};
}

/// Until the machine is ready or has failed.
Outcome NomadScheduler::follow(const Following& what, const Watch& watch) {
    const auto place_end = Clock::now() + seconds(config_.nomad->place_s);
    auto end = Clock::now() + what.limit;
    auto ask = Clock::now();
    std::optional<Allocation> mine;
    std::optional<MachineState> last;
    std::string last_text;
    bool starts = false;
    for (;;) {
        if (Clock::now() >= ask) {
            const auto all = allocations(what.path);
            const Allocation* now = newest(all);
            mine = now != nullptr && now->job_version == what.version.value_or(now->job_version)
                       ? std::optional(*now)
                       : std::nullopt;
            ask = Clock::now() + (mine ? kAskNomad : kLook);
            if (!mine && Clock::now() > place_end) {
                return {.exit_code = code(ExitCode::kUnavailable),
                        .last = std::nullopt,
                        .said = "no host has room: " +
                                lacking(rooms(what.path), what.demand, home(what.path))};
            }
        }
        const auto text = mine ? said_text(what.path, mine->node) : std::nullopt;
        if (text && text != last_text && text != what.before) {
            MachineState now = MachineState::parse(*text);
            if (now.alloc == mine->id) {
                last_text = *text;
                last = now;
                watch(now);
                if (now.state == "fetching") {
                    end = Clock::now() + kFetch;
                } else if (!starts) { // once: one that dies again and again is not waited for
                    starts = true;
                    end = Clock::now() + what.limit;
                }
                if (now.state == "ready") {
                    return {.exit_code = 0, .last = last, .said = ""};
                }
                if (now.state == "failed" || now.state == "backoff" || now.state == "stopped") {
                    return {.exit_code = 1, .last = last, .said = ""};
                }
            }
        }
        if (mine && mine->ended()) {
            return failed_because(last, what.path, mine->event);
        }
        if (Clock::now() > end) {
            return failed_because(last, what.path,
                                  last ? fmt::format("not ready in {} s{}{}", what.limit.count(),
                                                     last->why ? ": " : "", last->why.value_or(""))
                                       : fmt::format("nothing was heard from {} for {} s",
                                                     mine ? mine->node : "nomad",
                                                     what.limit.count()));
        }
        std::this_thread::sleep_for(kLook);
    }
}

} // namespace sky::submit
