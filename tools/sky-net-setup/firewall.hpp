// SPDX-License-Identifier: MIT
#pragma once

#include <string>

namespace sky::net {

/// Runs nft commands in one transaction. Throws Error(kSystem) with nft's first line.
void load_rules(const std::string& commands);

} // namespace sky::net
