// SPDX-License-Identifier: MIT
#include <sky-nomad-submit/connect.hpp>

#include "sky-nomad-submit/scheduler.hpp"

#include <sky/error.hpp>

#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <netinet/in.h>
#include <optional>
#include <poll.h>
#include <string_view>
#include <sys/socket.h>
#include <unistd.h>

namespace sky::submit {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::size_t kChunk = 65536;
constexpr milliseconds kDialWait{10'000};
constexpr milliseconds kLinger{2000}; ///< for what is left to say to a machine that has hung up

/// One direction: what was read and is not written yet.
class Half {
  public:
    Half(int from, int to, bool to_socket) : from_(from), to_(to), to_socket_(to_socket) {}

    [[nodiscard]] bool done() const { return closed_; }
    [[nodiscard]] short wants_read() const { return !ended_ && left_.empty() ? POLLIN : short{0}; }
    [[nodiscard]] short wants_write() const { return left_.empty() ? short{0} : POLLOUT; }
    [[nodiscard]] int from() const { return wants_read() != 0 ? from_ : -1; }
    [[nodiscard]] int to() const { return wants_write() != 0 ? to_ : -1; }

    void pull() {
        const ssize_t n = ::read(from_, chunk_.data(), chunk_.size());
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
            return;
        }
        if (n <= 0) {
            ended_ = true;
            close();
            return;
        }
        left_ = {chunk_.data(), static_cast<std::size_t>(n)};
    }

    void push() {
        const ssize_t n = to_socket_ ? ::send(to_, left_.data(), left_.size(), MSG_NOSIGNAL)
                                     : ::write(to_, left_.data(), left_.size());
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
            return;
        }
        if (n < 0) { // nobody reads there any more
            ended_ = true;
            left_ = {};
            close();
            return;
        }
        left_.remove_prefix(static_cast<std::size_t>(n));
    }

  private:
    /// Tells the reader that this was all.
    void close() {
        closed_ = true;
        if (to_socket_) {
            ::shutdown(to_, SHUT_WR);
        } else {
            ::close(to_);
        }
    }

    int from_;
    int to_;
    bool to_socket_;
    bool ended_ = false;
    bool closed_ = false;
    std::array<char, kChunk> chunk_{};
    std::string_view left_;
};

void set_blocking(int fd, bool blocking) {
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags < 0 ||
        ::fcntl(fd, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK) != 0) {
        fail_errno("cannot set a socket's flags");
    }
}

} // namespace

Fd dial(const std::string& address, std::uint16_t port, milliseconds limit) {
    const auto away = [&](int error) {
        fail(ExitCode::kUnavailable, "cannot connect to {} port {}: {}", address, port,
             std::strerror(error));
    };
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    if (::inet_pton(AF_INET, address.c_str(), &to.sin_addr) != 1) {
        away(EADDRNOTAVAIL);
    }
    Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) {
        fail_errno("cannot make a socket");
    }
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
        if (errno != EINPROGRESS) {
            away(errno);
        }
        pollfd entry{socket.get(), POLLOUT, 0};
        const int n = ::poll(&entry, 1, static_cast<int>(limit.count()));
        int error = n == 0 ? ETIMEDOUT : errno;
        socklen_t size = sizeof error;
        if (n > 0 && ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
            error = errno;
        }
        if (error != 0) {
            away(error);
        }
    }
    set_blocking(socket.get(), true);
    return socket;
}

void relay(int in, int out, const Fd& socket) {
    set_blocking(socket.get(), false);
    Half up(in, socket.get(), true);
    Half down(socket.get(), out, false);
    std::optional<steady_clock::time_point> end;
    while (!up.done() || !down.done()) {
        if (down.done() && !end) {
            end = steady_clock::now() + kLinger;
        }
        const int left =
            end ? static_cast<int>(std::max<std::int64_t>(
                      0,
                      std::chrono::duration_cast<milliseconds>(*end - steady_clock::now()).count()))
                : -1;
        std::array<pollfd, 5> entries{{{up.from(), up.wants_read(), 0},
                                       {up.to(), up.wants_write(), 0},
                                       {down.from(), down.wants_read(), 0},
                                       {down.to(), down.wants_write(), 0},
                                       {down.done() ? -1 : out, 0, 0}}}; // hang-up alone
        const int n = ::poll(entries.data(), entries.size(), left);
        if (n < 0 && errno != EINTR) {
            fail_errno("cannot poll");
        }
        if (n == 0 || (entries[4].revents & (POLLERR | POLLHUP)) != 0) {
            return;
        }
        if (entries[1].revents != 0) {
            up.push();
        } else if (entries[0].revents != 0) {
            up.pull();
        }
        if (entries[3].revents != 0) {
            down.push();
        } else if (entries[2].revents != 0) {
            down.pull();
        }
    }
}

int Scheduler::connect(const MachinePath& /*path*/, const std::string& address,
                       std::uint16_t port) {
    const Fd socket = dial(address, port, kDialWait);
    relay(STDIN_FILENO, STDOUT_FILENO, socket);
    return 0;
}

} // namespace sky::submit
