// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace sky::vm {

struct Damage {
    std::string name; ///< base name of the store path
    std::string why;
    bool operator==(const Damage&) const = default;
};

struct Verified {
    std::size_t paths = 0; ///< that were looked at
    std::vector<Damage> damaged;
};

/// Reads every path of a tenant's store that is marked as whole, and compares it with the NAR hash
/// of its mark, which is the record's. With `repair` a damaged one loses its mark, so that the next
/// start that needs it fetches it again, and is put aside for machines that run from it. Safe
/// beside starts and sweeps. Throws SysError.
[[nodiscard]] Verified verify_store(const std::filesystem::path& store, bool repair);

struct VerifyOptions {
    std::optional<std::string> tenant; ///< only this one
    bool repair = false;
    bool json = false;
};

/// Verb `verify`: that for each tenant, with a report on `out`. 0, or kSomeFailed where a path is
/// damaged and was not repaired, or a store can not be read.
int verify_verb(const Config& config, const VerifyOptions& options, int out);

} // namespace sky::vm
