// SPDX-License-Identifier: MIT
#include <sky-vm-run/follow.hpp>

#include <sky-vm-run/events.hpp>

#include <sky/error.hpp>
#include <sky/json.hpp>
#include <sky/lines.hpp>
#include <sky/lock.hpp>

#include <array>
#include <fcntl.h>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

namespace sky::vm {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr seconds kFetchLimit{900};
constexpr seconds kLook{1}; ///< between two looks whether the supervisor lives
constexpr off_t kLogMost = 1 << 20;

/// A unit of its own, named anew each time, since the machine of a dead supervisor stays in the
/// dead one's. Below it we make cgroups. Who stops it waits for the guest; nothing is killed but
/// the supervisor itself.
void start_by_systemd(const Vm& vm) {
    static int started = 0; // on a slow host the next may be started while one is still to come
    const auto spec = load<Spec>(vm.files.spec());
    const auto made =
        Command(vm.config.programs.systemd_run)
            .args({"--quiet", "--collect", "--service-type=exec",
                   fmt::format("--unit={}-vm-{}-{}-{}", vm.config.prefix, vm.path.joined(),
                               ::getpid(), ++started),
                   fmt::format("--slice={}.slice", vm.config.prefix),
                   fmt::format("--description=Skyflake machine {}", vm.path.text()),
                   "--property=Delegate=memory pids cpu", "--property=KillMode=process",
                   fmt::format("--property=TimeoutStopSec={}", (spec ? spec->stop_s : 0) + 60),
                   "--property=After=network.target",
                   fmt::format("--property=RequiresMountsFor={}", vm.config.state.string()),
                   fmt::format("--property=StandardError=append:{}",
                               vm.files.supervisor_log().string()),
                   "--"})
            .args(vm.self("run").argv())
            .capture("", 1U << 16U, seconds(30), true);
    if (made.exit_code != 0) {
        fail(ExitCode::kSystem, "systemd-run ended with {}: {}", made.exit_code,
             printable(made.err, 200));
    }
}

/// Twice forked, with setsid between: neither our child nor able to get a terminal.
void start_detached(const Vm& vm) {
    const Fd null = open_file("/dev/null", O_RDWR);
    const Fd log =
        open_file(vm.files.supervisor_log(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
    if (::lseek(log.get(), 0, SEEK_END) > kLogMost && ::ftruncate(log.get(), 0) != 0) {
        fail_errno("cannot empty '{}'", vm.files.supervisor_log().string());
    }
    const Command command = vm.self("run").cwd("/");
    const pid_t pid = ::fork();
    if (pid < 0) {
        fail_errno("cannot fork");
    }
    if (pid == 0) {
        ::setsid();
        if (::fork() != 0) {
            ::_exit(0);
        }
        ::dup2(null.get(), 0);
        ::dup2(null.get(), 1);
        ::dup2(log.get(), 2);
        ::close_range(3, ~0U, 0);
        try {
            command.exec();
        } catch (const std::exception&) {
            ::_exit(127);
        }
    }
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
}

/// Waits for a word of the supervisor's, for a reader that goes, or until it is time for a look.
void wait_for_news(int changes, int out) {
    std::array<pollfd, 2> entries{{{changes, POLLIN, 0}, {out, 0, 0}}};
    ::poll(entries.data(), entries.size(), static_cast<int>(milliseconds(kLook).count()));
    forget_changes(changes);
}

} // namespace

bool supervised(const Vm& vm) {
    return !Lock::try_take(vm.files.supervisor_lock(), "a look").has_value();
}

void ensure_supervisor(const Vm& vm) {
    if (supervised(vm)) {
        return;
    }
    if (std::filesystem::exists("/run/systemd/system")) {
        start_by_systemd(vm);
    } else {
        start_detached(vm);
    }
}

int follow(const Vm& vm, std::uint64_t serial, Until until, seconds limit, int out) {
    std::string last;
    auto end = Clock::now() + kFetchLimit;
    const Fd changes = watch_directory(vm.files.base()); // before the first look at what is there
    auto look = Clock::now() + kLook; // who was just started may not hold its lock yet
    while (Clock::now() < end) {
        if (hung_up(out)) {
            fail(ExitCode::kIo, "nobody reads the answer any more (the machine goes on)");
        }
        // First whether somebody works on it, then what was said: its last word is not lost.
        const bool supervisor = Clock::now() < look || supervised(vm);
        const auto state = load<StateLine>(vm.files.state());
        const bool mine = state && state->serial >= serial;
        if (mine) {
            auto line = dump_json(state->json(false));
            if (line != last) {
                write_line(out, state->json(false));
                last = std::move(line);
                end = Clock::now() + (state->state == "fetching" ? kFetchLimit : limit);
            }
            const bool dead = state->state == "stopped" || state->state == "failed";
            if (until == Until::kStopped && dead && state->pid == 0) {
                return 0;
            }
            if (until == Until::kUp &&
                (state->state == "ready" || dead || state->state == "backoff")) {
                return state->state == "ready" ? 0 : state->code;
            }
        }
        if (!supervisor) {
            ensure_supervisor(vm);
        }
        if (Clock::now() >= look) {
            look = Clock::now() + kLook;
        }
        wait_for_news(changes.get(), out);
    }
    fail(ExitCode::kBusy, "machine '{}' took too long (see its logs)", vm.path.text());
}

} // namespace sky::vm
