// SPDX-License-Identifier: MIT
#pragma once

#include <sky/cli.hpp>

namespace sky::vm {

/// The command line of sky-vm-run: one function per verb, see doc/interfaces.md. The exit code.
int app(Cli& cli);

} // namespace sky::vm
