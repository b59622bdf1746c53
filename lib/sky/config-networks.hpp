// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>
#include <sky/json.hpp>

namespace sky {

/// Reads `nodes` and `networks` of the configuration into `config`, whose `host` and `tenants` were
/// read before. Throws Error(kConfig) "PATH: ...".
void read_networks(Fields& top, Config& config);

} // namespace sky
