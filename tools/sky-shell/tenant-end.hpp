// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>

#include <string>
#include <vector>

namespace sky::shell {

/// What a tenant has that does not go without a word.
struct Left {
    std::vector<MachinePath> machines; ///< that have a record
    std::vector<std::string> volumes;  ///< "infra/www/root", of machines that were and are
    [[nodiscard]] bool empty() const { return machines.empty() && volumes.empty(); }
    /// "2 machines, 3 volumes"
    [[nodiscard]] std::string text() const;
};

/// Looks at records and volumes, of this host and of those that all hosts share.
[[nodiscard]] Left what_is_left(const Config& config, const Tenant& tenant);

/// Ends the tenant's machines, removes its volumes and everything else of it below the state
/// directories. Throws Error(kBusy) while something of it lives.
void end_tenant(const Config& config, const Tenant& tenant);

} // namespace sky::shell
