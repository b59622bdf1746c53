// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>

#include <string>
#include <vector>

namespace sky::build {

struct GcOptions {
    bool dry_run = false;
    bool json = false;
};

/// Names among the cell's roots that are no machine's, or whose branch is gone. Throws Error for a
/// repo that can not be read.
[[nodiscard]] std::vector<std::string> stale_roots(const Config& config, const Tenant& tenant,
                                                   const std::vector<std::string>& names);

/// Removes from the tenant's cell what neither a machine with a branch nor the operator's trees
/// need. This process has the tenant's uid. A report on stdout. Throws Error(kBusy) when a build is
/// on, Error(kSystem) with nix's reason.
void collect_garbage(const Config& config, const Tenant& tenant, const GcOptions& options);

} // namespace sky::build
