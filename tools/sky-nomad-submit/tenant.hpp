// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>

#include <string>

namespace sky::submit {

/// `tenant add`: makes the namespace of a tenant's jobs, and that of our variables, with the
/// operator's management token from NOMAD_TOKEN. Safe to repeat. Error(kUsage) without a token,
/// Error(kConfig) without a cluster.
int tenant_add(const Config& config, const std::string& tenant);

} // namespace sky::submit
