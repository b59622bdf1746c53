// SPDX-License-Identifier: MIT
#pragma once

#include <sky-build/cell-run.hpp>
#include <sky-build/memo.hpp>
#include <sky-build/nix.hpp>
#include <sky/config.hpp>

#include <map>
#include <optional>
#include <string>

namespace sky::build {

/// The operator's trees, each in the cell's store.
struct OperatorTrees {
    std::map<std::string, StoreTree> inputs; ///< cell.inputs: the registry
    StoreTree guest;
    std::optional<StoreTree> customization; ///< a tree with default.nix

    /// The input "microvm". Throws Error(kConfig) when there is none.
    [[nodiscard]] const StoreTree& microvm() const;
};

/// True if a path lies in the cell's store. What nix was killed over may lie there too: only for
/// paths that were valid once.
[[nodiscard]] bool in_store(const Cell& cell, const StorePath& path);

/// Where the roots of the cell's store lie, below nix/var/nix/gcroots: the operator's trees by
/// name, and each machine's latest deployment as REPO.MACHINE.
inline constexpr const char* kInputRoots = "sky-inputs";
inline constexpr const char* kMachineRoots = "sky";

/// Makes `path` a root of the cell's store, in the place of what `name` was. Throws SysError.
void add_root(const Cell& cell, const char* kind, const std::string& name, const StorePath& path);

/// The NAR hash of what lies at `host`, `inside` the cell.
[[nodiscard]] CellTree hashed(const std::filesystem::path& host, std::string inside);

/// Names, modes, sizes and times of all that lies below `path`, hashed: another one when the
/// operator changes a file. A path in a /nix/store stands for itself. Throws Error(kConfig).
[[nodiscard]] std::string fingerprint(const std::filesystem::path& path);

/// Adds what is not in the cell's store yet; the rest is known from the memo. Each becomes a
/// root.
[[nodiscard]] OperatorTrees add_operator_trees(const CellConfig& config, const Cell& cell,
                                               const Memo& memo);

/// A tree as the memo keeps it.
[[nodiscard]] Json tree_json(const StoreTree& tree);
[[nodiscard]] std::optional<StoreTree> tree_from(const Json& value);

} // namespace sky::build
