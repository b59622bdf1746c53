// SPDX-License-Identifier: MIT
#pragma once

#include <sky-build/flake.hpp>
#include <sky-build/outbox.hpp>
#include <sky-build/progress.hpp>
#include <sky-build/request.hpp>
#include <sky/config.hpp>

#include <map>
#include <set>
#include <string>
#include <variant>

namespace sky::build {

/// What the machines of one session share. All of it is thread-safe and outlives them.
struct Shared {
    const Config* config;
    const Cell* cell;
    const Memo* memo;
    Outbox* outbox;
};

/// A deployment that was built before, with its closure.
struct Known {
    StorePath deployment;
    std::vector<PathInfo> closure;
};

/// What came of the same input before, if anything.
[[nodiscard]] std::optional<Known> recall(const Memo& memo, const DeployInput& input);

/// A machine's outcome: its deployment, or why there is none.
using Outcome = std::variant<StorePath, Failure>;

/// Evaluates and builds one machine, unless it is `known`; roots the result in the cell and leaves
/// its closure in the outbox, unless it is known and the request's branch was there before: then
/// the cache had it, and who finds that it has lost it asks again. Tells its progress on stderr.
/// Throws Cancelled; every other failure is an outcome.
[[nodiscard]] Outcome build_machine(const Shared& shared, const Tag& tag, const Request& request,
                                    const DeployInput& input, const std::optional<Known>& known,
                                    BuildLog& log);

/// A failure as people see it: the reason and the last lines of the log.
void tell_failure(const Tag& tag, const Failure& failure, std::string_view log);

/// Asks sky-nomad-submit who these machines are: an identity or a failure for each of `machines`.
[[nodiscard]] std::map<Machine, std::variant<Identity, Failure>>
ask_identities(const Config& config, const Repo& repo, const std::set<Machine>& machines);

/// Who a machine was when its identity was asked for last. Admission compares, so one that is out
/// of date costs a build. `root_mib` is the operator's number now.
[[nodiscard]] std::optional<Identity>
recall_identity(const Memo& memo, const Repo& repo, const Machine& machine, std::int64_t root_mib);
void remember_identity(const Memo& memo, const Repo& repo, const Machine& machine,
                       const Identity& identity);

/// The answer's lines. A machine without a line gets a failure. Throws Error(kData).
[[nodiscard]] std::map<Machine, std::variant<Identity, Failure>>
parse_identities(std::string_view answer, const std::set<Machine>& machines);

} // namespace sky::build
