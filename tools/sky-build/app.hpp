// SPDX-License-Identifier: MIT
#pragma once

#include <sky/cli.hpp>

namespace sky::build {

/// The body of main(): options, requests, session.
int run(Cli& cli);

} // namespace sky::build
