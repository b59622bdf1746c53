// SPDX-License-Identifier: MIT
#pragma once

#include <sky-build/inputs.hpp>
#include <sky-build/tree.hpp>
#include <sky/error.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace sky::build {

/// A commit's flake in the cell's store, every input locked.
struct Source {
    StoreTree tree;
    std::vector<std::string> from_registry; ///< inputs that the flake does not lock: the operator's
    std::vector<std::string> machines;      ///< its nixosConfigurations, as the tenant wrote them
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

/// Reads a commit's tree, has nix complete its lock file in the cell from the operator's inputs,
/// adds it to the cell's store and asks for its machines; once for each tree.
/// Throws FlakeError, Error, Cancelled.
[[nodiscard]] Source prepare_source(const Cell& cell, const Memo& memo,
                                    const std::function<Repository()>& open,
                                    const std::string& tree, const OperatorTrees& trees,
                                    std::chrono::seconds limit);

} // namespace sky::build
