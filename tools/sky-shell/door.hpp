// SPDX-License-Identifier: MIT
#pragma once

namespace sky::shell {

/// All of sky-shell: login shell (`-c X`), ForceCommand (no argument), and the subcommands that
/// hooks and operators call. Returns the exit code; throws nothing.
int shell_main(int argc, char** argv) noexcept;

} // namespace sky::shell
