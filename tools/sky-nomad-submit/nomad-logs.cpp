// SPDX-License-Identifier: MIT
#include "sky-nomad-submit/nomad-scheduler.hpp"

#include <sky/error.hpp>
#include <sky/log.hpp>
#include <sky/terminal.hpp>

#include <nlohmann/json.hpp>
#include <poll.h>
#include <thread>
#include <unistd.h>

namespace sky::submit {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMost = std::size_t{1} << 20; ///< of the past
constexpr std::chrono::seconds kLookForNext{5};     ///< between two looks for a newer allocation
constexpr std::chrono::seconds kAgain{1};           ///< before a new connection

std::string_view last_lines(std::string_view text, std::int64_t lines) {
    std::size_t at = text.size();
    at -= at > 0 && text.back() == '\n' && lines > 0 ? 1 : 0;
    for (; at > 0; --at) {
        if ((text[at - 1] == '\n' && --lines == 0) || lines < 0) {
            break;
        }
    }
    return lines > 0 || at > 0 ? text.substr(at) : text.substr(text.size());
}

/// The other end of our stdout has gone.
bool nobody_reads() {
    pollfd entry{STDOUT_FILENO, 0, 0};
    return ::poll(&entry, 1, 0) > 0 && (entry.revents & (POLLERR | POLLHUP)) != 0;
}

} // namespace

/// The log of one allocation from where `console` stands; `enough` ends it. The status.
long NomadScheduler::stream(const MachinePath& path, const std::string& alloc, Console& console,
                            bool follow, const std::function<bool(const std::string&)>& sink) {
    auto query = in(path);
    for (const auto& [key, value] : {std::pair{"task", "vm"},
                                     {"type", "stdout"},
                                     {"plain", "false"},
                                     {"origin", "start"},
                                     {"follow", follow ? "true" : "false"}}) {
        query.emplace_back(key, value);
    }
    console.begin();
    return nomad().stream("client/fs/logs/" + alloc, query, [&](std::string_view piece) {
        return sink(console.take(piece)) && !console.broken();
    });
}

/// Goes on with the next allocation when there is one, and from where it was when a connection is
/// lost; until nobody reads.
void NomadScheduler::follow_logs(const MachinePath& path, std::string alloc, Console console) {
    for (;;) {
        auto look = Clock::now() + kLookForNext;
        try {
            static_cast<void>(stream(path, alloc, console, true, [&](const std::string& text) {
                write_guests(STDOUT_FILENO, text);
                if (nobody_reads()) {
                    return false;
                }
                if (Clock::now() < look) {
                    return true;
                }
                look = Clock::now() + kLookForNext;
                const auto all = allocations(path);
                const Allocation* now = newest(all);
                return now == nullptr || now->id == alloc;
            }));
        } catch (const http::Failure& e) {
            log::debug("{}: connecting again", e.what());
        }
        if (nobody_reads()) {
            return;
        }
        const auto all = allocations(path);
        const Allocation* now = newest(all);
        if (now != nullptr && now->id != alloc) {
            alloc = now->id;
            console = Console{};
        }
        std::this_thread::sleep_for(kAgain);
    }
}

int NomadScheduler::logs(const MachinePath& path, bool follow, std::int64_t lines) {
    const auto all = allocations(path);
    const Allocation* now = newest(all);
    if (now == nullptr) {
        fail(ExitCode::kRefused, "'{}' runs on no host", path.text());
    }
    Console console;
    std::string text;
    static_cast<void>(stream(path, now->id, console, false, [&](const std::string& piece) {
        text += piece;
        if (text.size() > 2 * kMost) {
            text.erase(0, text.size() - kMost);
        }
        return true;
    }));
    write_guests(STDOUT_FILENO, last_lines(text, lines));
    if (follow) {
        follow_logs(path, now->id, console);
    }
    return 0;
}

} // namespace sky::submit
