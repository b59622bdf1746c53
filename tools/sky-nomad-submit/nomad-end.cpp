// SPDX-License-Identifier: MIT
#include "sky-nomad-submit/lost-owner.hpp"
#include "sky-nomad-submit/nomad-scheduler.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <thread>

namespace sky::submit {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kLook{500};
constexpr seconds kSlack{120};  ///< Nomad loses sight of a host in 30 s, in 90 s with its leader
constexpr seconds kRelease{20}; ///< for what runs on a host that says so itself: `cleanup`

/// Of the allocation that the record names Nomad has lost sight.
bool lost(const std::vector<Allocation>& all, const Owner& owner) {
    return std::any_of(all.begin(), all.end(), [&](const Allocation& a) {
        return a.id == owner.alloc && a.state == "lost";
    });
}

} // namespace

/// Stops the job and waits until nothing of the machine lives: each allocation has ended, and the
/// owner record says so too. Why it does not, if it does not.
std::optional<std::string> NomadScheduler::end(const MachinePath& path) {
    const auto job = nomad().find(job_path(path), in(path));
    if (job && !job->value("Stop", false)) {
        nomad().remove(job_path(path), in(path));
    }
    const auto begun = Clock::now();
    const auto limit = begun + seconds(config_.machine.stop_s) + kSlack;
    const auto heard = begun + seconds(config_.nomad->place_s);
    for (;;) {
        const auto all = allocations(path);
        const auto runs = std::find_if(all.begin(), all.end(), [](const Allocation& a) {
            return !a.ended() && a.state != "lost";
        });
        if (runs == all.end()) {
            return released(path);
        }
        if (runs->state == "unknown" &&
            Clock::now() > heard) { // what lives there is told when the host is back
            return fmt::format("host {} is not heard of", runs->node);
        }
        if (Clock::now() > limit) {
            return fmt::format("it does not end on {}", runs->node);
        }
        std::this_thread::sleep_for(kLook);
    }
}

/// Waits until nobody has it, by the owner record, after all that Nomad hears of has ended. From a
/// host that is lost it is taken away.
std::optional<std::string> NomadScheduler::released(const MachinePath& path) {
    const auto begun = Clock::now();
    const auto taken =
        begun + seconds(2 * config_.nomad->lease_s) + lease_wait(config_.volumes) + kSlack;
    std::optional<LostOwner> from;
    for (;;) {
        const auto had = Owner::of(nomad(), path);
        if (!had || had->released) {
            return std::nullopt;
        }
        if (lost(allocations(path), *had)) {
            if (!had->leased) { // what it writes to no other host can open
                return std::nullopt;
            }
            if (!from) {
                from.emplace(nomad(), config_, path);
            }
            if (from->gone(*had)) {
                return std::nullopt;
            }
            if (Clock::now() > taken) {
                return fmt::format("host {} is not heard of, and has it", had->holder.host);
            }
        } else if (Clock::now() - begun > kRelease) {
            // Its host says that it ended, and was started anew before it could release it. Whoever
            // starts it next asks the owner record again.
            return std::nullopt;
        }
        std::this_thread::sleep_for(kLook);
    }
}

} // namespace sky::submit
