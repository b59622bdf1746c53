// SPDX-License-Identifier: MIT
#pragma once

#include <sky-build/inputs.hpp>
#include <sky-build/tree.hpp>
#include <sky/error.hpp>

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace sky::build {

/// A commit's flake in the cell's store, every input locked.
struct Source {
    StoreTree tree;
    std::vector<std::string> from_registry; ///< inputs that the operator's registry gave
};

/// Thrown when the tenant's flake is at fault; `log` is what nix said.
class FlakeError : public Error {
  public:
    FlakeError(const std::string& text, std::string log)
        : Error(ExitCode::kData, text), log_(std::move(log)) {}
    [[nodiscard]] const std::string& log() const noexcept { return log_; }

  private:
    std::string log_;
};

/// The root inputs of the lock file `after` that are not in `before` (empty: there was none) and
/// were looked up in the registry by a name in `known`. Throws Error(kData).
[[nodiscard]] std::vector<std::string> taken_from_registry(std::string_view before,
                                                           std::string_view after,
                                                           const std::set<std::string>& known);

/// Reads the commit's tree, has nix complete its lock file in the cell against the operator's
/// registry, and adds it to the cell's store; once for each tree. `scratch` is the cell's /tmp.
/// Throws FlakeError, Error, Cancelled.
[[nodiscard]] Source prepare_source(const Cell& cell, const Memo& memo, const Repository& repo,
                                    const Revision& rev, const OperatorTrees& trees,
                                    std::chrono::seconds limit);

/// The names in the flake's nixosConfigurations, as the tenant wrote them. Throws FlakeError.
[[nodiscard]] std::vector<std::string> machine_names(const Cell& cell, const Memo& memo,
                                                     const StoreTree& source,
                                                     const StoreTree& guest,
                                                     std::chrono::seconds limit);

} // namespace sky::build
