// SPDX-License-Identifier: MIT
#pragma once

#include <sky/name.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

struct git_repository;

namespace sky::build {

/// What a commit's tree may be at most.
struct TreeLimits {
    std::size_t entries = 200'000;
    std::size_t depth = 64;
    std::uint64_t bytes = std::uint64_t{1} << 30;
};

struct TreeStats {
    std::size_t entries = 0;
    std::uint64_t bytes = 0;
    bool flake = false; ///< there is a regular file flake.nix at the top
};

/// Why a tree's entry must not be written, or nothing: empty, ".", "..", "/" or NUL in it, ".git"
/// in any case, too long. libgit2 does not check.
[[nodiscard]] std::optional<std::string> bad_entry_name(std::string_view name);

/// A repo of a tenant, read with libgit2 and without any configuration of the system or the user.
class Repository {
  public:
    /// Throws Error(kRefused) when it is not there, Error(kData) when it is no repo.
    explicit Repository(const std::filesystem::path& path);

    /// The commit that 40 hex digits, "HEAD" or a branch's name mean; the ref is looked up exactly,
    /// there is no revision syntax. Throws Error(kData).
    [[nodiscard]] Revision resolve(const std::string& text) const;
    /// Whether refs/heads/NAME is there. Throws Error(kData) when that can not be said.
    [[nodiscard]] bool has_branch(const std::string& name) const;
    /// The object id of the tree of a commit. Throws Error(kData).
    [[nodiscard]] std::string tree_of(const Revision& commit) const;
    /// Walks a whole tree with every check; with a directory (a descriptor of an empty one) writes
    /// it there as raw blobs, links verbatim. Throws Error(kData) naming the entry.
    TreeStats read_tree(const std::string& tree, std::optional<int> directory,
                        const TreeLimits& limits = {}) const;

  private:
    struct Close {
        void operator()(git_repository* repository) const noexcept;
    };
    std::unique_ptr<git_repository, Close> repository_;
};

} // namespace sky::build
