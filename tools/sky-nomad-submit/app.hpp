// SPDX-License-Identifier: MIT
#pragma once

#include <sky/cli.hpp>

namespace sky::submit {

/// The command line of sky-nomad-submit: verbs of doc/interfaces.md. The exit code.
int app(Cli& cli);

} // namespace sky::submit
