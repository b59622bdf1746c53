// SPDX-License-Identifier: MIT
#include "sky-nomad-submit/followed.hpp"
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

/// Until the machine is ready or has failed.
Outcome NomadScheduler::follow(const Following& what, const Watch& watch) {
    const auto place_end = Clock::now() + seconds(config_.nomad->place_s);
    auto end = Clock::now() + what.limit;
    auto ask = Clock::now();
    std::optional<Allocation> mine;
    Followed heard;
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
                heard.hear(now);
                watch(now);
                if (now.state == "fetching") {
                    end = Clock::now() + kFetch;
                } else if (!starts) { // once: one that dies again and again is not waited for
                    starts = true;
                    end = Clock::now() + what.limit;
                }
                if (auto answer = heard.answer()) {
                    return std::move(*answer);
                }
            }
        }
        if (mine && mine->ended() && mine->wanted == "run") { // else it goes on in another
            return {.exit_code = code(ExitCode::kUnavailable),
                    .last = std::nullopt,
                    .said = mine->event};
        }
        if (Clock::now() > end) {
            return heard.late(heard.last()
                                  ? fmt::format("not ready in {} s", what.limit.count())
                                  : fmt::format("nothing was heard from {} for {} s",
                                                mine ? mine->node : "nomad", what.limit.count()));
        }
        std::this_thread::sleep_for(kLook);
    }
}

} // namespace sky::submit
