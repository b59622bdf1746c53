// SPDX-License-Identifier: MIT
#include <sky-build/cell-run.hpp>

#include <sky/error.hpp>
#include <sky/exit.hpp>
#include <sky/process.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
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

enum class End { kDone, kLate, kCancelled };

/// Follows the child until it and both its pipes have ended, the limit passes, or the work is
/// cancelled. Output that never stops does not put the limit off.
class Collector {
  public:
    Collector(Fd out, Fd err, Fd child, const CellOptions& options)
        : out_(std::move(out)), err_(std::move(err)), child_(std::move(child)), options_(&options) {
    }

    End collect(CellResult& result, const Cancel& cancel) {
        const auto end = steady_clock::now() + options_->limit;
        while (out_ || err_ || child_) {
            wait(end, cancel.fd());
            if (cancel.is_set()) {
                return End::kCancelled;
            }
            if (steady_clock::now() >= end) {
                return End::kLate;
            }
            take([&](std::string_view data) { out(result, data); },
                 [&](std::string_view data) { err(result, data); });
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
    void wait(steady_clock::time_point end, int cancel) {
        const auto left = std::chrono::ceil<milliseconds>(end - steady_clock::now());
        entries_ = {{{out_.get(), POLLIN, 0},
                     {err_.get(), POLLIN, 0},
                     {child_.get(), POLLIN, 0},
                     {cancel, POLLIN, 0}}};
        if (::poll(entries_.data(), entries_.size(),
                   static_cast<int>(std::clamp<long>(left.count(), 0, 60'000))) < 0) {
            entries_ = {};
        }
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
    Command program("/proc/self/exe");
    program.arg(kWithParent).arg(std::to_string(::getpid())).arg(std::to_string(pids_));
    program.args(cell_argv(plan_, command)).cwd("/").group();
    program.out(out.write.get()).err(err.write.get());
    CellResult result;
    // Goes with its whole group when it leaves this scope; bwrap takes the cell's processes along.
    Child child = program.spawn();
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

int exec_with_parent(int argc, char** argv) noexcept {
    constexpr int kFailed = static_cast<int>(ExitCode::kSystem);
    if (argc < 5) {
        return static_cast<int>(ExitCode::kUsage);
    }
    const rlimit no_core{0, 0};
    const auto pids = static_cast<rlim_t>(std::strtoul(argv[3], nullptr, 10));
    const rlimit processes{pids, pids};
    if (::setrlimit(RLIMIT_CORE, &no_core) != 0 || ::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) {
        return kFailed;
    }
    // The cgroup is the real bound; this one helps where there is none, and may already be lower.
    [[maybe_unused]] const int lower = ::setrlimit(RLIMIT_NPROC, &processes);
    if (::getppid() != static_cast<pid_t>(std::strtol(argv[2], nullptr, 10))) {
        return kFailed; // it died before we asked
    }
    ::execv(argv[4], argv + 4);
    std::fprintf(stderr, "error: cannot execute '%s': %s\n", argv[4], std::strerror(errno));
    return kFailed;
}

} // namespace sky::build
