// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>
#include <sky/registry.hpp>

#include <set>
#include <string>
#include <vector>

namespace sky::shell {

/// What a tenant has that does not go without a word.
struct Left {
    std::vector<MachinePath> machines; ///< that have a record
    std::set<std::string> volumes;     ///< "infra/www/root", of machines that were and are
    [[nodiscard]] bool empty() const { return machines.empty() && volumes.empty(); }
    /// "2 machines, 3 volumes"
    [[nodiscard]] std::string text() const;
};

/// The tenant's volumes in the registry, "infra/www/root": on every storage, of every host, those
/// that wait for their branch too. Pure.
[[nodiscard]] std::set<std::string> volumes_of(const Registry& registry, const Tenant& tenant);

/// Looks at records, at the registry, and at files of volumes that this host sees.
[[nodiscard]] Left what_is_left(const Config& config, const Tenant& tenant);

/// Ends the tenant's machines, removes its volumes and everything else of it below the state
/// directories. Throws Error(kBusy) while something of it lives.
void end_tenant(const Config& config, const Tenant& tenant);

} // namespace sky::shell
