// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>

#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace sky {

/// Tenants beside those of the configuration: SHARED/tenants.json, root's alone, read with the
/// configuration by every tool. doc/interfaces.md "Tenants". A plain value.
struct Tenants {
    uid_t next_uid = 0; ///< 0: none was given yet. None is ever given twice.
    std::map<Tenant, TenantConfig> added;
    std::map<Tenant, std::string> suspended; ///< with the reason; of the configuration's too

    /// Strict. Throws Error(kConfig) naming the key.
    [[nodiscard]] static Tenants parse(std::string_view json);
    [[nodiscard]] std::string dump() const;
};

/// SHARED/tenants.json, or nothing where there is none. Throws Error(kConfig) for one that anybody
/// but root could have written.
[[nodiscard]] std::optional<Tenants> read_tenants(const std::filesystem::path& shared);

/// Adds them to `config`; where both have a name, the configuration counts. Throws Error(kConfig)
/// for a uid that somebody has already, or outside of `tenant_uids`.
void add_tenants(Config& config, const Tenants& tenants);

/// A quota as the configuration writes it; `path` is for what is said about a wrong one.
[[nodiscard]] Quota read_quota(const nlohmann::json& value, const std::string& path);

} // namespace sky
