// SPDX-License-Identifier: MIT
#pragma once

#include <sky/fd.hpp>

#include <filesystem>

namespace sky {

/// rm -rf for trees of our own uid, read-only directories too. Links are removed, never followed.
/// What can not be removed stays: the next sweep tries again.
void remove_tree(const std::filesystem::path& path) noexcept;

/// As remove_tree, where nothing may stay: throws SysError with the cause of the first that does,
/// when all the rest is gone.
void remove_tree_whole(const std::filesystem::path& path);

/// Removes the scratch directories in `parent` whose holder is dead.
void sweep_scratch(const std::filesystem::path& parent);

/// A fresh directory with `tmp` and `etc` in it, held by a flock on itself while this lives and
/// removed with it. Making one removes those whose holder is dead.
class Scratch {
  public:
    explicit Scratch(const std::filesystem::path& parent);
    ~Scratch() { remove_tree(path_); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

    [[nodiscard]] std::filesystem::path tmp() const { return path_ / "tmp"; }
    [[nodiscard]] std::filesystem::path etc() const { return path_ / "etc"; }

  private:
    std::filesystem::path path_;
    Fd lock_;
};

} // namespace sky
