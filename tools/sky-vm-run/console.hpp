// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>
#include <sky/fd.hpp>
#include <sky/name.hpp>

#include <cstdint>
#include <functional>
#include <string_view>

namespace sky::vm {

/// The machine's console as two files of at most kCap bytes: what is older than both is lost. Knows
/// descriptors only, so that a process that may open nothing can write it.
class ConsoleLog {
  public:
    static constexpr std::uint64_t kCap = 4U << 20U;

    /// `now` and `old` are open for reading and writing; `cap` bytes each.
    ConsoleLog(Fd now, Fd old, std::uint64_t cap = kCap);
    /// Appends; when `now` would grow over its cap, it is copied to `old` first and emptied.
    /// A disk that is full loses text, never the machine.
    void append(std::string_view text) noexcept;

    [[nodiscard]] int now() const noexcept { return now_.get(); }
    [[nodiscard]] int old() const noexcept { return old_.get(); }

  private:
    void rotate() noexcept;

    Fd now_;
    Fd old_;
    std::uint64_t cap_;
    std::uint64_t size_;
};

/// What a machine says on its console when it is ready: a line of its own, in the words of
/// sd_notify(3).
inline constexpr std::string_view kNotification = "READY=1";

/// Looks for kNotification in a console that comes in pieces.
class NotificationFinder {
  public:
    /// True if a line that ends in `text` is it.
    [[nodiscard]] bool ends_in(std::string_view text) noexcept;

  private:
    std::size_t same_ = 0; ///< characters of it that the line has so far; npos: another line
};

/// Verb `logs`: the last `lines` lines of both files to `out`; with `follow` what comes after,
/// until nobody reads `out` any more. Throws SysError.
void show_console(const std::filesystem::path& now, const std::filesystem::path& old,
                  std::size_t lines, bool follow, int out);

/// What is written to the file `now` from byte `at` on, to `out`, until nobody reads `out` any more
/// or `enough` says so: then what was written until that moment still comes. Throws SysError.
void follow_console(const std::filesystem::path& now, std::uint64_t at, int out,
                    const std::function<bool()>& enough);

/// Verb `console` (hidden, root): follows a machine's console from byte `from` on, until SIGTERM,
/// which the end of its caller sends, too. 0.
int console_verb(const Config& config, const MachinePath& machine, std::uint64_t from, int out);

/// The last `lines` lines of `text`. Pure.
[[nodiscard]] std::string_view last_lines(std::string_view text, std::size_t lines) noexcept;

} // namespace sky::vm
