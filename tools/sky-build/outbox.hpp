// SPDX-License-Identifier: MIT
#pragma once

#include <sky-build/nix.hpp>
#include <sky/config.hpp>
#include <sky/lock.hpp>

#include <filesystem>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace sky::build {

/// Asks which of `paths` the tenant's cache does not have. Injected, so that tests need no cache.
using AskMissing = std::function<std::vector<std::string>(const std::vector<std::string>& paths)>;

/// tenants/T/outbox/BUILD: what the tenant's cache does not have yet of this push, as an unsigned
/// binary cache. Thread-safe: machines of one push share paths, each is written once.
class Outbox {
  public:
    /// Makes the directory; its group comes from the set-gid bit of its parent. `store`: the cell's
    /// /nix/store as the host sees it.
    Outbox(std::filesystem::path directory, std::filesystem::path store, AskMissing ask);

    /// Asks the cache about paths that are of interest soon, all at once. Throws Error.
    void ask(const std::vector<PathInfo>& paths);
    /// Leaves what is missing of a closure. When it returns, all of `closure` is in the cache or
    /// here. Throws Error.
    void leave(const std::vector<PathInfo>& closure);

  private:
    void learn(const std::vector<PathInfo>& paths);
    void write(const PathInfo& info);

    std::filesystem::path directory_;
    std::filesystem::path store_;
    AskMissing ask_;
    std::optional<Lock> lock_; ///< nothing if sky-shell holds it
    std::mutex mutex_;
    std::set<StorePath> there_; ///< in the cache or here
    std::set<StorePath> missing_;
};

/// `sky-cache-push missing`, across sudo. `check`: what is damaged there is missing too. Throws
/// Error.
[[nodiscard]] AskMissing ask_cache(const Config& config, bool check);

} // namespace sky::build
