// SPDX-License-Identifier: MIT
#include <sky/process.hpp>

#include <sky/error.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace sky {

using std::chrono::milliseconds;

Child::Child(Child&& other) noexcept : pid_(other.release()), group_(other.group_) {}

Child& Child::operator=(Child&& other) noexcept {
    if (this != &other) {
        Child dying(pid_, group_);
        group_ = other.group_;
        pid_ = other.release();
    }
    return *this;
}

Child::~Child() {
    if (pid_ > 0) {
        kill(SIGKILL);
        while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
        }
    }
}

void Child::kill(int signal) noexcept {
    if (pid_ > 0) {
        ::kill(group_ ? -pid_ : pid_, signal);
    }
}

int Child::wait() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0) {
        if (errno != EINTR) {
            fail_errno("cannot wait for process {}", pid_);
        }
    }
    pid_ = -1;
    return exit_code_of_wait_status(status);
}

std::optional<int> Child::wait_for(milliseconds limit) {
    const Fd fd = pidfd();
    pollfd poll_entry{fd.get(), POLLIN, 0};
    const auto end = std::chrono::steady_clock::now() + limit;
    for (;;) {
        const auto left =
            std::chrono::duration_cast<milliseconds>(end - std::chrono::steady_clock::now())
                .count();
        const int n = ::poll(&poll_entry, 1, static_cast<int>(std::max<long>(left, 0)));
        if (n > 0) {
            return wait();
        }
        if (n == 0) {
            return std::nullopt;
        }
        if (errno != EINTR) {
            fail_errno("cannot poll process {}", pid_);
        }
    }
}

Fd Child::pidfd() const {
    const long fd = ::syscall(SYS_pidfd_open, pid_, 0);
    if (fd < 0) {
        fail_errno("cannot open process {}", pid_);
    }
    return Fd(static_cast<int>(fd)); // close-on-exec by birth, pidfd_open(2)
}

pid_t Child::release() noexcept {
    return std::exchange(pid_, -1);
}

Command::Command(const std::filesystem::path& program)
    : argv_{program.string()}, env_{{"PATH", "/usr/sbin:/usr/bin:/sbin:/bin"},
                                    {"LANG", "C.UTF-8"}} {}

Command& Command::arg(std::string_view text) {
    argv_.emplace_back(text);
    return *this;
}
Command& Command::args(const std::vector<std::string>& texts) {
    argv_.insert(argv_.end(), texts.begin(), texts.end());
    return *this;
}
Command& Command::env(const std::string& key, std::string_view value) {
    env_[key] = value;
    return *this;
}
Command& Command::clear_env() {
    env_.clear();
    return *this;
}
Command& Command::cwd(std::filesystem::path directory) {
    cwd_ = std::move(directory);
    return *this;
}
Command& Command::in(int fd) {
    in_ = fd;
    return *this;
}
Command& Command::out(int fd) {
    out_ = fd;
    return *this;
}
Command& Command::err(int fd) {
    err_ = fd;
    return *this;
}
Command& Command::pass_fd(int fd) {
    passed_.push_back(fd);
    return *this;
}
Command& Command::group() {
    group_ = true;
    return *this;
}

namespace {

/// argv or envp for exec: pointers into strings that outlive it.
std::vector<char*> pointers(std::vector<std::string>& texts) {
    std::vector<char*> out;
    out.reserve(texts.size() + 1);
    for (auto& text : texts) {
        out.push_back(text.data());
    }
    out.push_back(nullptr);
    return out;
}

std::vector<std::string> env_list(const std::map<std::string, std::string>& env) {
    std::vector<std::string> out;
    out.reserve(env.size());
    for (const auto& [key, value] : env) {
        out.push_back(fmt::format("{}={}", key, value));
    }
    return out;
}

struct SpawnSetup {
    posix_spawn_file_actions_t actions{};
    posix_spawnattr_t attributes{};
    SpawnSetup() {
        posix_spawn_file_actions_init(&actions);
        posix_spawnattr_init(&attributes);
    }
    SpawnSetup(const SpawnSetup&) = delete;
    SpawnSetup& operator=(const SpawnSetup&) = delete;
    ~SpawnSetup() {
        posix_spawn_file_actions_destroy(&actions);
        posix_spawnattr_destroy(&attributes);
    }

    void signals_and_group(bool group) {
        sigset_t none;
        sigset_t all;
        sigemptyset(&none);
        sigfillset(&all);
        posix_spawnattr_setsigmask(&attributes, &none);
        posix_spawnattr_setsigdefault(&attributes, &all);
        int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
        if (group) {
            posix_spawnattr_setpgroup(&attributes, 0);
            flags |= POSIX_SPAWN_SETPGROUP;
        }
        posix_spawnattr_setflags(&attributes, static_cast<short>(flags));
    }

    /// dup2(fd, fd) of an action clears close-on-exec, so a passed descriptor stays; everything
    /// else >= 3 goes.
    void keep_only(std::vector<int> passed) {
        std::sort(passed.begin(), passed.end());
        for (const int fd : passed) {
            posix_spawn_file_actions_adddup2(&actions, fd, fd);
        }
        const int last = passed.empty() ? 2 : std::max(2, passed.back());
        for (int fd = 3; fd < last; ++fd) {
            if (!std::binary_search(passed.begin(), passed.end(), fd)) {
                posix_spawn_file_actions_addclose(&actions, fd);
            }
        }
        posix_spawn_file_actions_addclosefrom_np(&actions, last + 1);
    }
};

/// A standard descriptor to be dup2'ed must not itself be 0..2, or an earlier dup2 overwrites it.
Fd lifted(std::optional<int> fd) {
    if (!fd || *fd > 2) {
        return Fd();
    }
    const int copy = ::fcntl(*fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0) {
        fail_errno("cannot duplicate a descriptor");
    }
    return Fd(copy);
}

} // namespace

Child Command::spawn() const {
    SpawnSetup setup;
    setup.signals_and_group(group_);
    Fd cwd;
    if (!cwd_.empty()) {
        cwd = open_file(cwd_, O_PATH | O_DIRECTORY);
        posix_spawn_file_actions_addfchdir_np(&setup.actions, cwd.get());
    }
    const std::array<std::optional<int>, 3> wanted{in_, out_, err_};
    std::array<Fd, 3> copies{lifted(in_), lifted(out_), lifted(err_)};
    if (!in_) {
        posix_spawn_file_actions_addopen(&setup.actions, 0, "/dev/null", O_RDONLY, 0);
    }
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        if (wanted.at(i)) {
            const int from = copies.at(i) ? copies.at(i).get() : *wanted.at(i);
            posix_spawn_file_actions_adddup2(&setup.actions, from, static_cast<int>(i));
        }
    }
    setup.keep_only(passed_);
    auto argv = argv_;
    auto env = env_list(env_);
    pid_t pid = -1;
    const int error = ::posix_spawn(&pid, argv_.front().c_str(), &setup.actions, &setup.attributes,
                                    pointers(argv).data(), pointers(env).data());
    if (error != 0) {
        throw SysError(error, fmt::format("cannot execute '{}'", argv_.front()));
    }
    return Child(pid, group_);
}

namespace {

/// Feeds `input`, collects `out` and the tail of `err` until both are closed or `end` has passed.
struct Exchange {
    Fd to;
    Fd out_fd;
    Fd err_fd;
    std::string_view input;
    std::size_t cap;
    Captured result{};
    bool too_much = false;

    bool open() const { return out_fd || err_fd; }

    void feed() {
        const ssize_t n = ::write(to.get(), input.data(), input.size());
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            to.reset(); // the child does not want more: its exit code tells
        } else if (n > 0) {
            input.remove_prefix(static_cast<std::size_t>(n));
        }
        if (input.empty()) {
            to.reset();
        }
    }

    void take(Fd& fd, std::string& into, bool tail) {
        std::array<char, 65536> buffer{};
        const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            fd.reset();
        } else if (n > 0) {
            into.append(buffer.data(), static_cast<std::size_t>(n));
            if (tail && into.size() > 65536) {
                into.erase(0, into.size() - 65536);
            } else if (!tail && into.size() > cap) {
                too_much = true;
            }
        }
    }
};

} // namespace

Captured Command::capture(std::string_view input, std::size_t cap,
                          std::optional<milliseconds> limit, bool capture_stderr) const {
    Pipe in = make_pipe();
    Pipe out = make_pipe();
    Pipe err = capture_stderr ? make_pipe() : Pipe{};
    Command copy = *this;
    copy.in(in.read.get()).out(out.write.get());
    if (capture_stderr) {
        copy.err(err.write.get());
    }
    Child child = copy.spawn();
    in.read.reset();
    out.write.reset();
    err.write.reset();
    Exchange x{std::move(in.write), std::move(out.read), std::move(err.read), input, cap};
    ::fcntl(x.to.get(), F_SETFL, O_NONBLOCK);
    if (input.empty()) {
        x.to.reset();
    }
    const auto end = std::chrono::steady_clock::now() + limit.value_or(milliseconds::zero());
    while (x.open()) {
        std::array<pollfd, 3> entries{
            {{x.out_fd.get(), POLLIN, 0}, {x.err_fd.get(), POLLIN, 0}, {x.to.get(), POLLOUT, 0}}};
        int left = -1;
        if (limit) {
            left = static_cast<int>(std::max<long>(
                0, std::chrono::duration_cast<milliseconds>(end - std::chrono::steady_clock::now())
                       .count()));
        }
        const int n = ::poll(entries.data(), entries.size(), left);
        if (n == 0) {
            fail(ExitCode::kBusy, "'{}' took longer than {} s", argv_.front(),
                 limit->count() / 1000);
        }
        if (entries[2].revents != 0) {
            x.feed();
        }
        if (entries[0].revents != 0) {
            x.take(x.out_fd, x.result.out, false);
        }
        if (entries[1].revents != 0) {
            x.take(x.err_fd, x.result.err, true);
        }
        if (x.too_much) {
            fail(ExitCode::kData, "'{}' printed more than {} bytes", argv_.front(), cap);
        }
    }
    x.to.reset();
    x.result.exit_code = child.wait();
    return std::move(x.result);
}

int Command::run() const {
    return spawn().wait();
}

void Command::exec() const {
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::signal(SIGPIPE, SIG_DFL);
    if (!cwd_.empty() && ::chdir(cwd_.c_str()) != 0) {
        fail_errno("cannot enter '{}'", cwd_.string());
    }
    for (const int fd : passed_) {
        ::fcntl(fd, F_SETFD, 0);
    }
    auto argv = argv_;
    auto env = env_list(env_);
    ::execve(argv_.front().c_str(), pointers(argv).data(), pointers(env).data());
    fail_errno("cannot execute '{}'", argv_.front());
}

bool alive(pid_t pid) noexcept {
    const long fd = ::syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0) {
        return false;
    }
    const Fd owned(static_cast<int>(fd));
    pollfd entry{owned.get(), POLLIN, 0};
    return ::poll(&entry, 1, 0) == 0; // readable once it has ended, zombie or not
}

} // namespace sky
