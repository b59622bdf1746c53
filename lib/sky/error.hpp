// SPDX-License-Identifier: MIT
#pragma once

#include <sky/exit.hpp>

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace sky {

/// What every part throws. The text is lower-case, names the thing in 'quotes' and the way out;
/// run_main prints it once.
class Error : public std::runtime_error {
  public:
    Error(ExitCode code, const std::string& text) : std::runtime_error(text), code_(code) {}
    [[nodiscard]] ExitCode code() const noexcept { return code_; }

  private:
    ExitCode code_;
};

/// The command line is wrong: exit 64, with a pointer to --help.
class UsageError : public Error {
  public:
    explicit UsageError(const std::string& text) : Error(ExitCode::kUsage, text) {}
};

/// A system call failed with `errno_value`, captured right after it. Text: "WHAT: strerror", or
/// "disk full: WHAT (the way out)". Full, broken, read-only storage is kIo, whatever `code` says.
class SysError : public Error {
  public:
    SysError(int errno_value, const std::string& what, ExitCode code = ExitCode::kSystem);
    [[nodiscard]] int errno_value() const noexcept { return errno_; }

  private:
    int errno_;
};

/// errno, read in one place so that this header needs no <cerrno>.
[[nodiscard]] int errno_now() noexcept;

/// fail(ExitCode::kData, "no machine '{}'", name): throws Error with a formatted text.
template <typename... Args>
[[noreturn]] void fail(ExitCode code, fmt::format_string<Args...> format, Args&&... args) {
    throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

/// fail_errno("cannot open '{}'", path): throws SysError of the current errno; call it first after
/// the failed call.
template <typename... Args>
[[noreturn]] void fail_errno(fmt::format_string<Args...> format, Args&&... args) {
    const int saved = errno_now();
    throw SysError(saved, fmt::format(format, std::forward<Args>(args)...));
}

} // namespace sky
