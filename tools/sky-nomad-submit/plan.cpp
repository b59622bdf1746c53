// SPDX-License-Identifier: MIT
#include "sky-nomad-submit/plan.hpp"

#include <algorithm>

namespace sky::submit {
namespace {

using State = MachineRecord::State;

std::optional<Step> step_for(const Machine& machine, const Revision& branch,
                             const MachineRecord& record, const std::optional<BuildId>& session) {
    const auto& did = record.did;
    if (record.rev != branch) {
        return Step{.kind = Step::Kind::kDeploy, .machine = machine, .rev = branch, .why = {}};
    }
    const bool tried = did.state == State::kFailed && session && did.session == session;
    const auto report = [&] {
        return Step{.kind = Step::Kind::kReport,
                    .machine = machine,
                    .rev = std::nullopt,
                    .why = did.why.value_or("failed")};
    };
    const auto target = record.target();
    if (!target) {
        if (did.state == State::kStopped) {
            return std::nullopt;
        }
        return tried ? report()
                     : Step{.kind = Step::Kind::kStop,
                            .machine = machine,
                            .rev = std::nullopt,
                            .why = {}};
    }
    if (did.state == State::kRunning && did.rev == target) {
        return did.why ? std::optional(report()) : std::nullopt; // held back
    }
    return tried ? report()
                 : Step{.kind = Step::Kind::kResume,
                        .machine = machine,
                        .rev = std::nullopt,
                        .why = {}};
}

} // namespace

std::vector<Step> plan_ensure(const Branches& branches,
                              const std::map<Machine, MachineRecord>& records,
                              const std::set<Machine>& registered,
                              const std::optional<BuildId>& session) {
    std::vector<Step> plan;
    for (const auto& [name, rev] : branches) {
        if (!Machine::valid(name)) {
            continue;
        }
        const auto machine = Machine::parse(name);
        const auto record = records.find(machine);
        if (record == records.end()) {
            plan.push_back(
                {.kind = Step::Kind::kDeploy, .machine = machine, .rev = rev, .why = {}});
        } else if (auto step = step_for(machine, rev, record->second, session)) {
            plan.push_back(std::move(*step));
        }
    }
    std::set<Machine> known = registered;
    for (const auto& [machine, record] : records) {
        known.insert(machine);
    }
    for (const Machine& machine : known) {
        if (!branches.contains(machine.str())) {
            plan.push_back(
                {.kind = Step::Kind::kForget, .machine = machine, .rev = std::nullopt, .why = {}});
        }
    }
    return plan;
}

std::vector<Repair> plan_repairs(const Records::All& records,
                                 const std::vector<MachineState>& seen) {
    std::vector<Repair> plan;
    const auto state_of = [&](const MachinePath& path) -> const MachineState* {
        const auto at = std::find_if(seen.begin(), seen.end(),
                                     [&](const MachineState& s) { return s.path == path; });
        return at == seen.end() ? nullptr : &*at;
    };
    for (const auto& [path, record] : records) {
        const MachineState* state = state_of(path);
        const bool up = state != nullptr && state->is_up();
        if (record.target() && !up) {
            plan.push_back({.kind = Repair::Kind::kResume, .path = path});
        } else if (!record.target() && up) {
            plan.push_back({.kind = Repair::Kind::kStop, .path = path});
        }
    }
    for (const MachineState& state : seen) {
        if (state.is_up() && !records.contains(state.path)) {
            plan.push_back({.kind = Repair::Kind::kStop, .path = state.path});
        }
    }
    return plan;
}

} // namespace sky::submit
