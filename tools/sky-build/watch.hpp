// SPDX-License-Identifier: MIT
#pragma once

#include <sky-build/cell-run.hpp>
#include <sky/fd.hpp>

#include <optional>
#include <string>
#include <vector>

namespace sky::build {

/// The main thread's part: waits for the work's end, for a signal (TERM, INT, HUP) or for stdout's
/// reader to go, and cancels the work for the latter two. Make it before other threads: it blocks
/// the signals.
class Watch {
  public:
    explicit Watch(Cancel& cancel);
    /// The work is done: ends wait(). From any thread.
    void done() noexcept;
    /// Returns at done(): nothing, or the exit code if the work was cancelled.
    [[nodiscard]] std::optional<int> wait();

  private:
    Cancel* cancel_;
    Fd signals_;
    Fd done_;
};

/// The lines that tell which machines a flake has, and the command that would work. Names are the
/// tenant's text: those that can not be a machine's name are left out.
[[nodiscard]] std::vector<std::string> names_advice(const std::vector<std::string>& names);

} // namespace sky::build
