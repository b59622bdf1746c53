// SPDX-License-Identifier: MIT
#pragma once

#include "sky-nomad-submit/plan.hpp"

#include <sky/json.hpp>

#include <optional>
#include <string>
#include <vector>

namespace sky::submit {

/// One machine as a tenant sees it: branches joined with records joined with the scheduler's state.
/// What `status` answers.
struct Row {
    std::string machine; ///< "infra/www"
    std::optional<Revision> branch;
    std::optional<Revision> rev; ///< what runs, or ran last
    std::string state;           ///< starting running backoff stopped failed
    std::string host;
    std::optional<std::string> since;
    std::vector<std::string> address;
    std::int64_t restarts = 0;
    std::optional<std::string> why;
    bool operator==(const Row&) const = default;

    [[nodiscard]] Json json() const;
};

/// Rows of one repository, by machine. `only`: that machine alone.
[[nodiscard]] std::vector<Row> join_status(const Tenant& tenant, const Repo& repo,
                                           const Branches& branches, const Records::All& records,
                                           const std::vector<MachineState>& seen,
                                           const std::string& host,
                                           const std::optional<Machine>& only);

/// A table for people, with a heading; lines end in newlines.
[[nodiscard]] std::string status_table(const std::vector<Row>& rows);

} // namespace sky::submit
