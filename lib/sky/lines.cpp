// SPDX-License-Identifier: MIT
#include <sky/lines.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/json.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <unistd.h>

namespace sky {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {

std::optional<steady_clock::time_point> end_of(std::optional<milliseconds> limit) {
    return limit ? std::optional(steady_clock::now() + *limit) : std::nullopt;
}

} // namespace

bool LineReader::fill(std::size_t most, std::optional<steady_clock::time_point> end) {
    if (end) {
        const auto left = std::chrono::duration_cast<milliseconds>(*end - steady_clock::now());
        if (!readable(fd_, std::max(left, milliseconds(0)))) {
            fail(ExitCode::kBusy, "no input came in time");
        }
    }
    std::array<char, 16384> chunk{};
    for (;;) {
        const ssize_t n = ::read(fd_, chunk.data(), std::min(most, chunk.size()));
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
            readable(fd_, std::chrono::hours(1)); // a descriptor that somebody made non-blocking
            continue;
        }
        if (n < 0) {
            fail_errno("cannot read a line");
        }
        buffer_.append(chunk.data(), static_cast<std::size_t>(n));
        return n > 0;
    }
}

std::optional<std::string> LineReader::next(std::optional<milliseconds> limit) {
    const auto end = end_of(limit);
    for (;;) {
        const auto at = buffer_.find('\n');
        if (at != std::string::npos && at <= cap_) {
            std::string line = buffer_.substr(0, at);
            buffer_.erase(0, at + 1);
            return line;
        }
        if (buffer_.size() > cap_) {
            fail(ExitCode::kData, "a line is longer than {} bytes", cap_);
        }
        if (ended_) {
            return buffer_.empty() ? std::nullopt : std::optional(std::exchange(buffer_, {}));
        }
        ended_ = !fill(65536, end);
    }
}

std::optional<std::string> LineReader::next_unbuffered(std::optional<milliseconds> limit) {
    const auto end = end_of(limit);
    while (buffer_.empty() || buffer_.back() != '\n') {
        if (buffer_.size() > cap_) {
            fail(ExitCode::kData, "a line is longer than {} bytes", cap_);
        }
        if (!fill(1, end)) {
            return buffer_.empty() ? std::nullopt : std::optional(std::exchange(buffer_, {}));
        }
    }
    buffer_.pop_back();
    return std::exchange(buffer_, {});
}

void write_line(int fd, const Json& value) {
    write_all(fd, dump_json(value) + "\n");
}

bool readable(int fd, milliseconds limit) {
    pollfd entry{fd, POLLIN, 0};
    const auto end = steady_clock::now() + limit;
    for (;;) {
        const auto left =
            std::chrono::duration_cast<milliseconds>(end - steady_clock::now()).count();
        const int n =
            ::poll(&entry, 1, static_cast<int>(std::clamp<long>(left, 0, 1000L * 3600 * 24)));
        if (n >= 0) {
            return n > 0;
        }
        if (errno != EINTR) {
            fail_errno("cannot poll");
        }
    }
}

bool hung_up(int fd) noexcept {
    pollfd entry{fd, 0, 0};
    return ::poll(&entry, 1, 0) > 0 && (entry.revents & (POLLERR | POLLHUP | POLLNVAL)) != 0;
}

} // namespace sky
