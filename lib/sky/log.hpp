// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/core.h>

#include <string_view>
#include <utility>

namespace sky::log {

enum class Level { kError, kWarning, kInfo, kDebug };

/// Set once by run_main. `tool` prefixes errors and warnings: "sky-build: error: ...".
void setup(std::string_view tool, Level least) noexcept;

/// Writes one line to stderr in one write(2); control characters other than tab become '?'. Never
/// throws.
void write(Level level, std::string_view text) noexcept;

/// A line for people, on stderr, without prefix: progress ("-----> ...", "=====> ...", " detail").
void say(std::string_view text) noexcept;

template <typename... Args>
void error(fmt::format_string<Args...> f, Args&&... args) {
    write(Level::kError, fmt::format(f, std::forward<Args>(args)...));
}
template <typename... Args>
void warn(fmt::format_string<Args...> f, Args&&... args) {
    write(Level::kWarning, fmt::format(f, std::forward<Args>(args)...));
}
template <typename... Args>
void info(fmt::format_string<Args...> f, Args&&... args) {
    write(Level::kInfo, fmt::format(f, std::forward<Args>(args)...));
}
template <typename... Args>
void debug(fmt::format_string<Args...> f, Args&&... args) {
    write(Level::kDebug, fmt::format(f, std::forward<Args>(args)...));
}

} // namespace sky::log
