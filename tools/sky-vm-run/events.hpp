// SPDX-License-Identifier: MIT
#pragma once

#include <sky/fd.hpp>

#include <chrono>
#include <filesystem>

namespace sky::vm {

/// Readable once a file was renamed into `directory`, until forget_changes(). Throws SysError.
[[nodiscard]] Fd watch_directory(const std::filesystem::path& directory);
void forget_changes(int fd) noexcept;

/// What a supervisor waits for: SIGTERM and SIGINT, the end of children, and files renamed into its
/// machine's directory (want.json, spec.json). Blocks these signals in this process; children that
/// Command starts have them again.
class Events {
  public:
    /// Throws SysError.
    explicit Events(const std::filesystem::path& directory);

    /// Waits at most `limit` for `fd` (-1: nothing) or any of the above; true when `fd` is
    /// readable.
    bool wait(int fd, std::chrono::milliseconds limit);
    /// Whether SIGTERM or SIGINT came: the host goes down, or an operator wants an end.
    [[nodiscard]] bool terminating() const noexcept { return terminating_; }

  private:
    Fd signals_;
    Fd changes_;
    bool terminating_ = false;
};

} // namespace sky::vm
