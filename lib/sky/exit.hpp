// SPDX-License-Identifier: MIT
#pragma once

namespace sky {

/// Exit codes of every tool: sysexits(3) where it has one, and what doc/interfaces.md adds.
enum class ExitCode : int {
    kOk = 0,
    kSomeFailed = 1,   ///< some machine failed; its verdict was printed
    kUsage = 64,       ///< the command line is wrong
    kData = 65,        ///< bad input
    kUnavailable = 69, ///< scheduler or storage away
    kBug = 70,         ///< ours
    kSystem = 71,      ///< the system refused
    kIo = 74,          ///< reading or writing failed
    kBusy = 75,        ///< try again
    kRefused = 77,     ///< refused or missing: the same words for both
    kConfig = 78,      ///< the configuration is wrong
};

/// The code of a waitpid(2) status: the program's own, or 128+N for signal N. The only place that
/// decodes one.
[[nodiscard]] int exit_code_of_wait_status(int status) noexcept;

} // namespace sky
