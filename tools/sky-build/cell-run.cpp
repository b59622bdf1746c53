// SPDX-License-Identifier: MIT
#include <sky-build/cell-run.hpp>

#include <sky/error.hpp>
#include <sky/exit.hpp>
#include <sky/process.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <optional>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

namespace sky::build {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {

constexpr std::size_t kTail = 65536;
constexpr std::chrono::seconds kDeath{2};

/// One descriptor of the child's: false at its end.
bool drain(int fd, const std::function<void(std::string_view)>& take) {
    std::array<char, 65536> buffer{};
    const ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n > 0) {
        take({buffer.data(), static_cast<std::size_t>(n)});
    }
    return n > 0 || (n < 0 && errno == EINTR);
}

enum class End {
    kDone,
    kLeft, ///< the child ended, and left somebody who keeps its pipes
    kLate,
    kCancelled
};

/// Follows the child until it and both its pipes have ended, the limit passes, or the work is
/// cancelled. Output that never stops does not put the limit off. Nor does who keeps the pipes when
/// the child is gone: pasta that could not make its network leaves a process which never ends.
class Collector {
  public:
    Collector(Fd out, Fd err, Fd child, const CellOptions& options)
        : out_(std::move(out)), err_(std::move(err)), child_(std::move(child)), options_(&options) {
    }

    End collect(CellResult& result, const Cancel& cancel) {
        const auto end = steady_clock::now() + options_->limit;
        std::optional<steady_clock::time_point> left; // so long may who is left say something more
        while (out_ || err_ || child_) {
            const bool said = wait(left ? std::min(end, *left) : end, cancel.fd());
            if (cancel.is_set()) {
                return End::kCancelled;
            }
            const auto now = steady_clock::now();
            if (now >= end) {
                return End::kLate;
            }
            if (left && !said && now >= *left) {
                return End::kLeft;
            }
            take([&](std::string_view data) { out(result, data); },
                 [&](std::string_view data) { err(result, data); });
            if (!child_ && !left) {
                left = steady_clock::now() + kDeath;
            }
        }
        return End::kDone;
    }

    /// After the kill: the last process of the cell takes the pipes with it.
    void await_end() {
        const auto end = steady_clock::now() + kDeath;
        while ((out_ || err_ || child_) && steady_clock::now() < end) {
            wait(end, -1);
            take([](std::string_view) {}, [](std::string_view) {});
        }
    }

  private:
    /// Whether there is something to take.
    bool wait(steady_clock::time_point end, int cancel) {
        const auto left = std::chrono::ceil<milliseconds>(end - steady_clock::now());
        entries_ = {{{out_.get(), POLLIN, 0},
                     {err_.get(), POLLIN, 0},
                     {child_.get(), POLLIN, 0},
                     {cancel, POLLIN, 0}}};
        const int found = ::poll(entries_.data(), entries_.size(),
                                 static_cast<int>(std::clamp<long>(left.count(), 0, 60'000)));
        if (found < 0) {
            entries_ = {};
        }
        return found > 0;
    }

    template <typename Out, typename Err>
    void take(const Out& out, const Err& err) {
        if (entries_[0].revents != 0 && !drain(out_.get(), out)) {
            out_.reset();
        }
        if (entries_[1].revents != 0 && !drain(err_.get(), err)) {
            err_.reset();
        }
        if (entries_[2].revents != 0) {
            child_.reset();
        }
    }

    void out(CellResult& result, std::string_view data) const {
        result.out.append(data);
        if (result.out.size() > options_->out_cap) {
            fail(ExitCode::kData, "nix printed more than {} bytes", options_->out_cap);
        }
    }

    void err(CellResult& result, std::string_view data) const {
        result.err.append(data);
        if (result.err.size() > kTail) {
            result.err.erase(0, result.err.size() - kTail);
        }
        if (options_->err) {
            options_->err(data);
        }
    }

    std::array<pollfd, 4> entries_{};
    Fd out_;
    Fd err_;
    Fd child_; ///< a pidfd
    const CellOptions* options_;
};

/// What becomes of the forked process. Other threads may hold any lock at the fork, so from there
/// to exec nothing is called but what a signal handler may call.
struct Entry {
    pid_t parent;
    rlimit processes;
    int null;
    int out;
    int err;
    char** argv;
    char** environment;

    [[noreturn]] void enter() const noexcept {
        const rlimit no_core{0, 0};
        sigset_t none;
        sigemptyset(&none);
        for (int signal = 1; signal < NSIG; ++signal) {
            ::signal(signal, SIG_DFL);
        }
        // The kernel kills us with our parent: pasta would outlive it.
        const bool ready = ::setpgid(0, 0) == 0 && ::dup2(null, 0) == 0 && ::dup2(out, 1) == 1 &&
                           ::dup2(err, 2) == 2 && ::close_range(3, ~0U, 0) == 0 &&
                           ::chdir("/") == 0 && ::setrlimit(RLIMIT_CORE, &no_core) == 0 &&
                           ::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
        // The cgroup is the real bound; this one helps where there is none, and may be lower.
        ::setrlimit(RLIMIT_NPROC, &processes);
        ::sigprocmask(SIG_SETMASK, &none, nullptr);
        if (ready && ::getppid() == parent) { // or it died before we asked
            ::execve(*argv, argv, environment);
        }
        constexpr std::string_view kText = "error: cannot start the cell\n";
        [[maybe_unused]] const ssize_t n = ::write(2, kText.data(), kText.size());
        ::_exit(static_cast<int>(ExitCode::kSystem));
    }
};

/// Starts a command in a process group of its own that does not outlive this thread.
Child spawn(std::vector<std::string> words, long pids, int out, int err) {
    std::vector<std::string> variables{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"};
    const auto pointers = [](std::vector<std::string>& texts) {
        std::vector<char*> result;
        result.reserve(texts.size() + 1);
        for (auto& text : texts) {
            result.push_back(text.data());
        }
        result.push_back(nullptr);
        return result;
    };
    auto argv = pointers(words);
    auto environment = pointers(variables);
    const Fd null = open_file("/dev/null", O_RDONLY);
    const auto most = static_cast<rlim_t>(pids);
    const Entry entry{.parent = ::getpid(),
                      .processes = {most, most},
                      .null = null.get(),
                      .out = out,
                      .err = err,
                      .argv = argv.data(),
                      .environment = environment.data()};
    const pid_t pid = ::fork();
    if (pid == 0) {
        entry.enter();
    }
    if (pid < 0) {
        fail_errno("cannot start '{}'", words.front());
    }
    ::setpgid(pid, pid); // whoever is first; nobody may signal a group that is not there yet
    return Child(pid, true);
}

} // namespace

Cancel::Cancel() : event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (!event_) {
        fail_errno("cannot make an eventfd");
    }
}

void Cancel::set() noexcept {
    set_ = true;
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(event_.get(), &one, sizeof one);
}

CellResult Cell::run(const CellCommand& command, const CellOptions& options) const {
    if (cancel_->is_set()) {
        throw Cancelled{};
    }
    Pipe out = make_pipe();
    Pipe err = make_pipe();
    CellResult result;
    // Goes with its whole group when it leaves this scope; bwrap takes the cell's processes along.
    Child child = spawn(cell_argv(plan_, command), pids_, out.write.get(), err.write.get());
    out.write.reset();
    err.write.reset();
    Collector collector(std::move(out.read), std::move(err.read), child.pidfd(), options);
    const End end = collector.collect(result, *cancel_);
    if (end != End::kDone) {
        child.kill(SIGKILL);
        collector.await_end();
    }
    result.late = end == End::kLate;
    result.exit_code = child.wait();
    if (end == End::kCancelled) {
        throw Cancelled{};
    }
    return result;
}

} // namespace sky::build
