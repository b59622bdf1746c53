// SPDX-License-Identifier: MIT
#pragma once

#include "sky-nomad-submit/machine-record.hpp"
#include "sky-nomad-submit/scheduler.hpp"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace sky::submit {

/// What to do about one machine, and why.
struct Step {
    enum class Kind {
        kDeploy, ///< as an accepted push of `rev`: clears want and pin
        kResume, ///< bring up what the record wants, pin and all
        kCheck,  ///< all is well by the record, but nobody looks after it: ask the scheduler
        kStop,   ///< the record wants it stopped
        kForget, ///< the branch is gone: stop, and give its registry entry back
        kReport, ///< nothing to do but to say `why`
    };
    Kind kind = Kind::kReport;
    Machine machine;
    std::optional<Revision> rev; ///< for kDeploy
    std::string why;             ///< for kReport
    bool told = false;           ///< for kReport: people heard it in this session
    bool uncached = false;       ///< for kReport: the cache has not all of its deployment
    bool operator==(const Step&) const = default;
};

/// Branches as git has them; names that no machine can have are passed over.
using Branches = std::map<std::string, Revision>;

/// One repository, as git, our records and a glance at the host show it.
struct RepoView {
    Branches branches;
    std::map<Machine, MachineRecord> records;
    std::set<Machine> registered; ///< has a registry entry
    std::set<Machine> watched;    ///< the host looks after it
    std::optional<BuildId> session;
};

/// What `ensure` does. Nothing to do: an empty plan. A start that failed in the same session is
/// reported, not tried again. A registry entry without a branch (a first build that failed) is
/// given back.
[[nodiscard]] std::vector<Step> plan_ensure(const RepoView& view);

/// Compares records with what the scheduler sees: what `reconcile` does after ensure. Resumes what
/// should run and does not, updates what runs another spec than the record says, stops what runs
/// and should not.
struct Repair {
    enum class Kind { kResume, kUpdate, kStop };
    Kind kind = Kind::kResume;
    MachinePath path;
    bool operator==(const Repair&) const = default;
};
[[nodiscard]] std::vector<Repair> plan_repairs(const Records::All& records,
                                               const std::vector<MachineState>& seen);

} // namespace sky::submit
