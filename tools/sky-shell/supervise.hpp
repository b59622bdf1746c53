// SPDX-License-Identifier: MIT
#pragma once

#include <sky/process.hpp>

#include <chrono>
#include <functional>
#include <optional>
#include <string>

namespace sky::shell {

struct Watch {
    std::string first;  ///< given to the child before what comes from the client
    bool alone = false; ///< that is all it is given
    int out = 1;        ///< the child's stdout
    /// How long the client may send nothing. Counted while it has not closed its side and
    /// `working` says no.
    std::optional<std::chrono::seconds> idle = std::nullopt;
    std::function<bool()> working = [] { return false; };
};

struct Outcome {
    enum class Kind {
        kEnded,   ///< by itself, with exit_code
        kGone,    ///< the client has hung up, or we were told to end; the child was killed
        kStalled, ///< the client sent nothing for too long; the child was killed
    };
    Kind kind = Kind::kEnded;
    int exit_code = 0;
};

/// Runs `command` in a process group of its own between the client's stdin (relayed, half-close
/// too), stdout and stderr (passed on), and stays: sshd tells a command without a terminal nothing
/// when its client is gone. Then the whole group gets SIGTERM, and SIGKILL after a second.
/// Throws SysError.
[[nodiscard]] Outcome supervise(Command command, const Watch& watch);

} // namespace sky::shell
