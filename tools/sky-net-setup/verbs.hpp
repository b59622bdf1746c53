// SPDX-License-Identifier: MIT
#pragma once

namespace sky {
class Cli;
}

namespace sky::net {

/// The tool: declares its command line, reads the request, does the verb. Returns the exit code.
int main_body(Cli& cli);

} // namespace sky::net
