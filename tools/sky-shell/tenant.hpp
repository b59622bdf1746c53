// SPDX-License-Identifier: MIT
#pragma once

#include <sky/cli.hpp>

#include <functional>

namespace sky::shell {

/// Declares `tenant add|quota|key|suspend|resume|rm|list` on the command line. What comes back does
/// what was asked, once it was parsed, and gives the exit code; it is empty if nothing was. All of
/// it is root's.
[[nodiscard]] std::function<std::function<int()>()> declare_tenant(Cli& cli);

} // namespace sky::shell
