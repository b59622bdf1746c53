// SPDX-License-Identifier: MIT
#include <sky-shell/supervise.hpp>

#include <sky/error.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <string_view>
#include <sys/signalfd.h>
#include <thread>
#include <unistd.h>

namespace sky::shell {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kGrace{1000};
/// A client may close its side the moment it has read the last word, before the child has ended.
constexpr milliseconds kLastWord{400};

/// SIGTERM, SIGINT and SIGHUP as something to poll, while this lives.
class EndSignals {
  public:
    EndSignals() {
        sigset_t set;
        sigemptyset(&set);
        for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
            sigaddset(&set, signal);
        }
        ::sigprocmask(SIG_BLOCK, &set, &before_);
        fd_ = Fd(::signalfd(-1, &set, SFD_CLOEXEC));
        if (!fd_) {
            fail_errno("cannot make a signalfd");
        }
    }
    EndSignals(const EndSignals&) = delete;
    EndSignals& operator=(const EndSignals&) = delete;
    ~EndSignals() { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }
    [[nodiscard]] int fd() const noexcept { return fd_.get(); }

  private:
    sigset_t before_{};
    Fd fd_;
};

/// The client's bytes on their way to the child, one buffer at a time.
class Relay {
  public:
    Relay(Fd to, std::string first, bool alone)
        : to_(std::move(to)), buffer_(std::move(first)), alone_(alone) {
        ::fcntl(to_.get(), F_SETFL, O_NONBLOCK); // a pipe end of ours alone
    }
    [[nodiscard]] bool open() const noexcept { return static_cast<bool>(to_); }
    [[nodiscard]] bool wants_input() const noexcept { return open() && buffer_.empty() && !alone_; }
    /// What to poll: the client's side when there is room, the child's side always (it may hang
    /// up).
    [[nodiscard]] pollfd client_side() const noexcept {
        return {wants_input() ? STDIN_FILENO : -1, POLLIN, 0};
    }
    [[nodiscard]] pollfd child_side() const noexcept {
        return {to_.get(), static_cast<short>(buffer_.empty() ? 0 : POLLOUT), 0};
    }

    /// Returns whether anything came.
    bool take() {
        std::array<char, 65536> chunk{};
        const ssize_t n = ::read(STDIN_FILENO, chunk.data(), chunk.size());
        if (n > 0) {
            buffer_.assign(chunk.data(), static_cast<std::size_t>(n));
            return true;
        }
        if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
            to_.reset(); // half-close: the client has said all
        }
        return false;
    }
    void give(short events) {
        if (!buffer_.empty()) {
            const ssize_t n = ::write(to_.get(), buffer_.data(), buffer_.size());
            if (n > 0) {
                buffer_.erase(0, static_cast<std::size_t>(n));
                if (alone_ && buffer_.empty()) {
                    to_.reset();
                }
            } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
                to_.reset();
            }
        } else if ((events & (POLLERR | POLLHUP)) != 0) {
            to_.reset(); // the child wants no more
        }
    }

  private:
    Fd to_;
    std::string buffer_;
    bool alone_;
};

bool broken(const pollfd& entry) {
    return (entry.revents & (POLLERR | POLLHUP | POLLNVAL)) != 0;
}

/// Ends every process of the group. Those of other uids (what went through sudo) can not be killed
/// from here: they see their pipes hang up.
void end_group(Child& child) {
    const pid_t group = child.pid();
    const auto end = steady_clock::now() + kGrace;
    ::kill(-group, SIGTERM);
    bool reaped = child.wait_for(kGrace).has_value();
    while (::kill(-group, 0) == 0 && steady_clock::now() < end) {
        std::this_thread::sleep_for(milliseconds(20));
    }
    ::kill(-group, SIGKILL);
    reaped = reaped || child.wait_for(kGrace).has_value();
    if (!reaped) {
        child.release(); // in the kernel's hands; waiting would hold the lock
    }
}

/// The clock of an upload that does not move.
class IdleClock {
  public:
    explicit IdleClock(const Watch& watch) : watch_(watch) {}
    void reset() { since_ = steady_clock::now(); }
    [[nodiscard]] int poll_ms() const { return watch_.idle ? 1000 : -1; }
    [[nodiscard]] bool expired() {
        if (!watch_.idle) {
            return false;
        }
        if (watch_.working()) {
            reset();
        }
        return steady_clock::now() - since_ > *watch_.idle;
    }

  private:
    const Watch& watch_;
    steady_clock::time_point since_ = steady_clock::now();
};

} // namespace

Outcome supervise(Command command, const Watch& watch) {
    const EndSignals signals;
    Pipe in = make_pipe();
    Child child = command.in(in.read.get()).out(watch.out).err(2).group().spawn();
    in.read.reset();
    const Fd ended = child.pidfd();
    Relay relay(std::move(in.write), watch.first, watch.alone);
    IdleClock idle(watch);
    std::optional<steady_clock::time_point> gone_at;
    for (;;) {
        std::array<pollfd, 6> entries{{{ended.get(), POLLIN, 0},
                                       {gone_at ? -1 : STDOUT_FILENO, 0, 0},
                                       {gone_at ? -1 : STDERR_FILENO, 0, 0},
                                       {signals.fd(), POLLIN, 0},
                                       relay.client_side(),
                                       relay.child_side()}};
        const int wait_ms = gone_at ? 20 : relay.open() ? idle.poll_ms() : -1;
        if (::poll(entries.data(), entries.size(), wait_ms) < 0 && errno != EINTR) {
            fail_errno("cannot poll");
        }
        if (entries[0].revents != 0) {
            return {Outcome::Kind::kEnded, child.wait()};
        }
        if (broken(entries[1]) || broken(entries[2])) {
            gone_at = steady_clock::now();
        }
        if (entries[3].revents != 0 || (gone_at && steady_clock::now() - *gone_at > kLastWord)) {
            end_group(child);
            return {Outcome::Kind::kGone, 0};
        }
        // Only silence of the client counts, not a child that is slow to take what came.
        if (!relay.wants_input() || (entries[4].revents != 0 && relay.take())) {
            idle.reset();
        }
        if (entries[5].revents != 0) {
            relay.give(entries[5].revents);
        }
        if (relay.open() && idle.expired()) {
            end_group(child);
            return {Outcome::Kind::kStalled, 0};
        }
    }
}

} // namespace sky::shell
