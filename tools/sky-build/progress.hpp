// SPDX-License-Identifier: MIT
#pragma once

#include <sky-build/request.hpp>
#include <sky/fd.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sky::build {

/// Which machine of how many a line is about.
struct Tag {
    std::size_t index = 1;
    std::size_t total = 1;
    std::string machine;
    std::string rev; ///< 40 hex

    /// "-----> [1/2] www  a1b2c3d  TEXT"
    [[nodiscard]] std::string step(std::string_view text) const;
    /// "error: [1/2] www: TEXT", which git clients colour.
    [[nodiscard]] std::string error(std::string_view text) const;
};

/// What people should see of a line of nix's stderr, or nothing.
[[nodiscard]] std::optional<std::string> digest_line(std::string_view line);

/// The last `most` lines that hold something, without control characters, wrapped at `width` and
/// indented for stderr.
[[nodiscard]] std::vector<std::string> error_tail(std::string_view log, std::size_t most,
                                                  std::size_t width = 64);

/// The log from its last "error:" on: without the trace, which 2.26 puts before it.
[[nodiscard]] std::string_view last_error(std::string_view log);

/// Lines of at most `width`, broken at spaces where there are some.
[[nodiscard]] std::vector<std::string> wrap(std::string_view text, std::size_t width);

/// builds/ID/MACHINE.log, with what matters of it told on stderr as it comes. At most kLogCap
/// bytes.
class BuildLog {
  public:
    static constexpr std::uint64_t kLogCap = std::uint64_t{64} << 20;

    BuildLog(const std::filesystem::path& file, std::string machine);
    /// The next bytes of nix's stderr.
    void feed(std::string_view data);
    /// A line of our own.
    void note(std::string_view line) { feed(std::string(line) + "\n"); }

  private:
    void tell(std::string_view line);

    Fd fd_;
    std::string machine_;
    std::string partial_;
    std::uint64_t size_ = 0;
    std::chrono::steady_clock::time_point told_{};
};

} // namespace sky::build
