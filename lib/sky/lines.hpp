// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace sky {

/// Reads lines from a descriptor that somebody else may control: each at most `cap` bytes (Error
/// kData after that). Does not own the descriptor.
class LineReader {
  public:
    explicit LineReader(int fd, std::size_t cap = 1U << 20U) : fd_(fd), cap_(cap) {}
    /// The next line without its newline; nothing at the end. A last line without newline counts.
    /// `limit`: Error(kBusy) when no whole line came in time.
    std::optional<std::string> next(std::optional<std::chrono::milliseconds> limit = std::nullopt);
    /// As next(), but reads byte by byte, so that what follows the line stays in the descriptor.
    std::optional<std::string>
    next_unbuffered(std::optional<std::chrono::milliseconds> limit = std::nullopt);

  private:
    bool fill(std::size_t most, std::optional<std::chrono::steady_clock::time_point> end);

    int fd_;
    std::size_t cap_;
    std::string buffer_;
    bool ended_ = false;
};

/// Writes one JSON object and a newline to `fd`. Throws SysError(kIo), EPIPE too: the reader has
/// gone, quit.
void write_line(int fd, const nlohmann::json& value);

/// Waits until `fd` can be read or `limit` has passed; false then. Throws SysError.
bool readable(int fd, std::chrono::milliseconds limit);

/// True when nobody reads the other end of `fd` any more (POLLERR on a pipe, POLLHUP on a socket).
[[nodiscard]] bool hung_up(int fd) noexcept;

} // namespace sky
