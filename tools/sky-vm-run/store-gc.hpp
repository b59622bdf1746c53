// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <ctime>
#include <filesystem>
#include <optional>
#include <set>
#include <string>

namespace sky::vm {

struct StoreSweep {
    std::set<std::string> live; ///< base names of store paths that stay
    timespec before{};          ///< what was made or used since then stays too
    /// When the tenant's longest running machine was started: what was replaced since then may
    /// still be in its view. Nothing: none runs.
    std::optional<std::time_t> oldest;
    bool dry_run = false;
};

struct StoreReport {
    std::size_t paths = 0;   ///< that stay
    std::size_t removed = 0; ///< with what was replaced
};

/// Removes from a tenant's store all else. What goes first loses its mark, so a kill leaves nothing
/// that looks whole, and nothing that the next sweep or fetch does not end. Throws Error.
[[nodiscard]] StoreReport sweep_store(const std::filesystem::path& store, const StoreSweep& sweep);

} // namespace sky::vm
