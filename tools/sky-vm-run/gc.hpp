// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/outline.hpp>
#include <sky/config.hpp>
#include <sky/registry.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sky::vm {

/// A volume of a branch that was deleted.
struct KeptVolume {
    MachinePath machine;
    Volume name;
    std::string storage_class;
    std::uint64_t size_mib = 0;
    bool operator==(const KeptVolume&) const = default;
};

/// The tenant's volumes whose branch was deleted more than `keep_s` ago. One that does not say
/// since when counts from `now` on, which is noted in `registry`.
[[nodiscard]] std::vector<KeptVolume> expired_volumes(Registry& registry, const Tenant& tenant,
                                                      std::int64_t now, std::int64_t keep_s);

struct GcOptions {
    std::optional<std::string> tenant; ///< only this one
    std::int64_t grace_s = 24 * 3600;  ///< store paths that were used or made later stay
    std::optional<std::int64_t> keep_s = std::nullopt; ///< instead of volumes.keep_s
    DryRun dry;
};

/// Verb `gc`, for each tenant: forgets directories of machines that are registered no more, removes
/// from store/T what no machine of this host runs or was told to run, and volumes whose time is
/// over. Safe beside starts. A report per tenant on `out`. 0, or kSomeFailed when something could
/// not be read: then what depends on it is left as it is.
int gc_verb(const Config& config, const GcOptions& options, int out);

} // namespace sky::vm
