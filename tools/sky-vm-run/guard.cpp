// SPDX-License-Identifier: MIT
#include <sky-vm-run/guard.hpp>

#include <sky-vm-run/cgroup.hpp>
#include <sky-vm-run/confine.hpp>
#include <sky-vm-run/console.hpp>
#include <sky-vm-run/deadline.hpp>
#include <sky-vm-run/lookout.hpp>
#include <sky-vm-run/runner.hpp>
#include <sky-vm-run/storage.hpp>
#include <sky-vm-run/view.hpp>
#include <sky-vm-run/vm.hpp>

#include <sky/error.hpp>
#include <sky/log.hpp>
#include <sky/record.hpp>
#include <sky/registry.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

namespace sky::vm {
namespace {

constexpr int kExecFailed = 127;

uid_t of(const Running& running, MachineUid which) {
    return running.uid + static_cast<uid_t>(which);
}

/// The guard's children; a guard ends with the first of them, and the kernel ends the others.
struct Wards {
    pid_t runner = 0;
    pid_t storage = 0; ///< 0: none
    pid_t lookout = 0; ///< 0: none
};

/// Pid 1: keeps the console and waits for the hypervisor. When the host's lease ends it goes, and
/// the kernel ends all that is with it.
class Guard {
  public:
    Guard(ConsoleLog console, Fd notified, Fd exit, Fd from, Wards wards, Fd signals,
          DeadlineTimer lease)
        : console_(std::move(console)), notified_(std::move(notified)), exit_(std::move(exit)),
          from_(std::move(from)), wards_(wards), signals_(std::move(signals)),
          lease_(std::move(lease)) {}

    int run() noexcept {
        ::fcntl(from_.get(), F_SETFL, O_NONBLOCK);
        while (!reap()) { // the storage process may have ended before anybody watched
            std::array<pollfd, 3> entries{
                {{from_.get(), POLLIN, 0}, {signals_.get(), POLLIN, 0}, {lease_.fd(), POLLIN, 0}}};
            ::poll(entries.data(), entries.size(), -1);
            if (entries[2].revents != 0 && lease_.passed()) {
                return static_cast<int>(ExitCode::kUnavailable);
            }
            if (entries[0].revents != 0) {
                pump(1);
            }
            if (entries[1].revents != 0) {
                signalfd_siginfo info{};
                [[maybe_unused]] const auto ignored = ::read(signals_.get(), &info, sizeof info);
            }
        }
        return leave();
    }

  private:
    void pump(int most) noexcept {
        std::array<char, 16384> buffer{};
        for (int i = 0; i < most && from_; ++i) {
            const ssize_t n = ::read(from_.get(), buffer.data(), buffer.size());
            if (n > 0) {
                heard({buffer.data(), static_cast<std::size_t>(n)});
            } else if (n == 0) {
                from_.reset();
            } else {
                return;
            }
        }
    }

    void heard(std::string_view text) noexcept {
        console_.append(text);
        if (notified_ && finder_.ends_in(text)) {
            const Fd once = std::move(notified_);
            try {
                write_all(once.get(), kNotification);
            } catch (const std::exception&) { // a full disk: it counts as not said
            }
        }
    }

    /// True once the hypervisor itself has ended, or its storage process.
    bool reap() noexcept {
        int status = 0;
        for (pid_t pid = 0; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
            if (pid == wards_.runner || pid == wards_.storage || pid == wards_.lookout) {
                what_ = pid == wards_.runner    ? ""
                        : pid == wards_.storage ? kStorageEnded
                                                : kStorageFenced;
                code_ = exit_code_of_wait_status(status);
                return true;
            }
        }
        return false;
    }

    int leave() noexcept {
        pump(64); // what it said last; a child of it that says more is ended with us
        try {
            write_all(exit_.get(), fmt::format("{}{}\n", what_, code_));
        } catch (const std::exception&) { // unheard
        }
        return code_;
    }

    ConsoleLog console_;
    NotificationFinder finder_;
    Fd notified_; ///< until it was
    Fd exit_;
    Fd from_;
    Wards wards_;
    Fd signals_;
    DeadlineTimer lease_;
    const char* what_ = ""; ///< of it ended
    int code_ = 0;
};

Fd child_signals() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    Fd fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!fd) {
        fail_errno("cannot watch signals");
    }
    return fd;
}

/// What the guard has open: all by root, before it becomes nobody.
struct GuardFiles {
    Fd console;
    Fd console_old;
    Fd notified;
    Fd exit;
    Fd answered;
};

GuardFiles open_files(const MachineFiles& files) {
    const int flags = O_RDWR | O_CREAT | O_NOFOLLOW;
    return {open_file(files.console(), flags, 0600), open_file(files.console_old(), flags, 0600),
            open_file(files.notified(), flags | O_TRUNC, 0600),
            open_file(files.exit(), flags | O_TRUNC, 0600),
            open_file(files.answered(), flags | O_TRUNC, 0600)};
}

/// Waits for the byte that lets a sandbox begin. False when who made it has gone.
bool wait_for_go() noexcept {
    char go = 0;
    return ::read(STDIN_FILENO, &go, 1) == 1;
}

/// The deadline of the host's lease that a machine was started under, if it needs one.
std::optional<Deadline> lease_of(const Vm& machine, const Running& running) {
    if (running.lease.empty()) {
        return std::nullopt;
    }
    auto deadline = Deadline::open(machine.state.deadline());
    if (!deadline || deadline->incarnation() != running.lease) {
        fail(ExitCode::kUnavailable, "this host has lost its lease meanwhile");
    }
    return deadline;
}

/// What the guard of a sandbox lives with.
struct GuardNeeds {
    GuardFiles files;
    std::optional<Deadline> deadline;
    Fd network; ///< the host's, for its storage process
    Fd stood;   ///< closed once the sandbox stands
};

/// Pid 1 of the sandbox, from fork on.
int guard_life(const Vm& machine, const Started& started, GuardNeeds needs) {
    const Running& running = started.running;
    const Runner runner{running.spec.runner.str() + "/bin/microvm-run",
                        {of(running, MachineUid::kRunner), runner_groups()}};
    const pid_t storage = start_storage(machine, running, needs.network.get());
    needs.network.reset();
    std::vector<Fd> volumes = fenced_volumes(machine, running);
    enter_view(plan_runner_view(running.spec, started.closure, machine.sources(),
                                of(running, MachineUid::kRunner)),
               machine.files.root());
    DeadlineTimer lease(std::move(needs.deadline)); // in memory by this process's own right
    const std::string& name = running.spec.path.machine.str();
    if (::sethostname(name.data(), name.size()) != 0) {
        fail_errno("cannot set the host name");
    }
    limit_resources(kRunnerFiles);
    limit_file_size(largest_file(running.spec));
    filter_calls();
    become_starter({of(running, MachineUid::kGuard), {}});
    Fd signals = child_signals();
    Pipe console = make_pipe();
    write_all(needs.stood.get(), "+");
    needs.stood.reset();
    ::close(STDOUT_FILENO);
    // Whoever took the lease back since, did so before looking for us, and finds us.
    if (!wait_for_go() || lease.passed()) {
        return 1;
    }
    const pid_t pid = ::fork();
    if (pid < 0) {
        fail_errno("cannot start the hypervisor's process");
    }
    if (pid == 0) {
        start_runner(runner, console.write.get());
    }
    drop_rest();
    GuardFiles& files = needs.files;
    const pid_t lookout = start_lookout(volumes, files.answered);
    volumes.clear(); // they are the lookout's alone
    files.answered.reset();
    console.write.reset();
    ::close(STDIN_FILENO);
    ::close(STDERR_FILENO);
    ::malloc_trim(0); // from here on it needs next to nothing, for as long as the machine lives
    return Guard(ConsoleLog(std::move(files.console), std::move(files.console_old)),
                 std::move(files.notified), std::move(files.exit), std::move(console.read),
                 {pid, storage, lookout}, std::move(signals), std::move(lease))
        .run();
}

/// Ends the launcher, without what exit(3) would run: its children belong to the new pid namespace
/// by now, so none may be started (LeakSanitizer's would keep the namespace from ending).
[[noreturn]] void leave_launcher(pid_t pid) noexcept {
    try {
        if (pid > 0) {
            write_all(STDOUT_FILENO, fmt::format("{}\n", pid));
        }
    } catch (const std::exception&) { // nobody waits for it any more
        pid = 0;
    }
    ::_exit(pid > 0 ? 0 : static_cast<int>(ExitCode::kSystem));
}

/// Forks `life` as pid 1 of the new pid namespace; it never returns into this process's caller.
template <typename F>
pid_t fork_first(F&& life) {
    unshare_all();
    const pid_t pid = ::fork();
    if (pid < 0) {
        log::error("cannot start the first process of a sandbox");
        leave_launcher(0);
    }
    if (pid == 0) {
        int code = kExecFailed;
        try {
            code = life();
        } catch (const std::exception& e) {
            log::error("{}", e.what());
        }
        ::_exit(code);
    }
    return pid;
}

/// A listening socket in root's directory that the runner's uid alone may connect to.
Fd listen_at(const std::filesystem::path& directory, const char* name, uid_t uid) {
    make_directories(directory, 0711);
    const Fd in = open_file(directory, O_PATH | O_DIRECTORY);
    ::unlinkat(in.get(), name, 0);
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    // Through the descriptor: a socket's path has 107 characters, a state directory may have more.
    const std::string path = fmt::format("/proc/self/fd/{}/{}", in.get(), name);
    path.copy(static_cast<char*>(address.sun_path), sizeof address.sun_path - 1);
    const mode_t before = ::umask(0177);
    const bool bound =
        fd && ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    const int error = errno;
    ::umask(before);
    if (!bound) {
        throw SysError(error, fmt::format("cannot bind '{}'", (directory / name).string()));
    }
    if (::fchownat(in.get(), name, uid, uid, AT_SYMLINK_NOFOLLOW) != 0 ||
        ::listen(fd.get(), 1) != 0) {
        fail_errno("cannot listen at '{}'", (directory / name).string());
    }
    return fd;
}

/// virtiofsd, from fork to exec. Its log is small: it stops growing, the program goes on.
[[noreturn]] void start_share(const Vm& machine, const Started& started, int socket, int log) {
    constexpr int kSocket = 3;
    enter_view(plan_share_view(machine.config, started.closure, machine.sources()),
               machine.files.root());
    const Fd null = open_file("/dev/null", O_RDONLY);
    ::dup2(log, 1);
    ::dup2(log, 2);
    if (socket != kSocket) {
        ::dup2(socket, kSocket);
    }
    limit_resources(kRunnerFiles);
    limit_file_size(1U << 20U);
    filter_calls();
    become({of(started.running, MachineUid::kVirtiofsd), {}});
    // From here on a sweep finds it by its uid; before, it must not begin without its supervisor.
    if (!wait_for_go()) {
        ::_exit(1);
    }
    ::dup2(null.get(), 0);
    Command("/sky/virtiofsd")
        .args({fmt::format("--fd={}", kSocket), "--shared-dir=/nix/store", "--sandbox=none",
               "--readonly", "--cache=always", "--inode-file-handles=never",
               "--no-announce-submounts", "--rlimit-nofile=0", "--log-level=warn"})
        .clear_env()
        .pass_fd(kSocket)
        .exec();
}

} // namespace

Started load_started(const Config& config, const MachinePath& machine) {
    auto running = load<Running>(MachineFiles(State(config), machine).running());
    if (!running) {
        fail(ExitCode::kRefused, "machine '{}' was not started", machine.text());
    }
    const Record record = load_record(config.shared, machine, running->spec.rev);
    check_record(running->spec, record);
    Started started{std::move(*running), {}};
    for (const auto& entry : record.closure) {
        started.closure.push_back(entry.path);
    }
    return started;
}

void guard_verb(const Config& config, const MachinePath& path) {
    const Vm machine(config, path);
    const Started started = load_started(config, path);
    join_cgroups(machine.cgroups(started.running.spec));
    make_directories(machine.files.root(), 0700);
    GuardNeeds needs{open_files(machine.files),
                     lease_of(machine, started.running),
                     open_file("/proc/self/ns/net", O_RDONLY),
                     {}};
    Pipe stood = make_pipe();
    needs.stood = std::move(stood.write);
    const pid_t pid = fork_first([&] {
        stood.read.reset();
        return guard_life(machine, started, std::move(needs));
    });
    needs.stood.reset();
    char sign = 0;
    const bool stands = ::read(stood.read.get(), &sign, 1) == 1;
    leave_launcher(stands ? pid : 0); // if not, the first process said why
}

void share_verb(const Config& config, const MachinePath& path) {
    const Vm machine(config, path);
    const Started started = load_started(config, path);
    const Fd socket =
        listen_at(machine.files.socks(), "store.sock", of(started.running, MachineUid::kRunner));
    join_cgroups(machine.cgroups(started.running.spec));
    make_directories(machine.files.root(), 0700);
    const Fd log = open_file(machine.files.share_log(),
                             O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW, 0600);
    leave_launcher(
        fork_first([&]() -> int { start_share(machine, started, socket.get(), log.get()); }));
}

} // namespace sky::vm
