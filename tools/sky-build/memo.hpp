// SPDX-License-Identifier: MIT
#pragma once

#include <sky/json.hpp>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace sky::build {

/// What was found out before: small JSON files named by the hash of what they depend on. They lie
/// beside the cell's store, out of the cell's sight. A memo that can not be read is a memo that is
/// not there. Thread-safe.
class Memo {
  public:
    explicit Memo(std::filesystem::path directory) : directory_(std::move(directory)) {}

    [[nodiscard]] std::optional<Json> get(std::string_view kind, std::string_view key) const;
    void put(std::string_view kind, std::string_view key, const Json& value) const;
    /// Removes the oldest until at most `most` are left.
    void prune(std::size_t most) const;

  private:
    [[nodiscard]] std::filesystem::path file(std::string_view kind, std::string_view key) const;
    std::filesystem::path directory_;
};

} // namespace sky::build
