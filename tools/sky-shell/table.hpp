// SPDX-License-Identifier: MIT
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace sky::shell {

/// Columns for people: as wide as their longest cell, two spaces between, no trailing spaces.
/// Control characters in a cell become '?'.
class Table {
  public:
    explicit Table(std::vector<std::string> head);
    void row(std::vector<std::string> cells);
    [[nodiscard]] std::string text() const;

  private:
    std::vector<std::vector<std::string>> rows_;
};

/// What sky-nomad-submit answers to `status` as a table. Throws Error(kData) for what is none.
[[nodiscard]] std::string status_table(const std::vector<nlohmann::json>& machines);

} // namespace sky::shell
