// SPDX-License-Identifier: MIT
#include <sky-nomad-submit/plan.hpp>

#include <algorithm>

namespace sky::submit {
namespace {

using State = MachineRecord::State;

Step step(Step::Kind kind, const Machine& machine) {
    return {.kind = kind,
            .machine = machine,
            .rev = std::nullopt,
            .why = {},
            .told = false,
            .uncached = false};
}

Step report(const RepoView& view, const Machine& machine, const MachineRecord& record) {
    Step out = step(Step::Kind::kReport, machine);
    out.told = view.session && record.did.session == view.session;
    out.why = record.did.why.value_or("failed");
    out.uncached = record.did.uncached;
    return out;
}

std::optional<Step> step_for(const RepoView& view, const Machine& machine, const Revision& branch,
                             const MachineRecord& record) {
    const auto& did = record.did;
    if (record.rev != branch) {
        Step out = step(Step::Kind::kDeploy, machine);
        out.rev = branch;
        return out;
    }
    const bool tried = did.state == State::kFailed && view.session && did.session == view.session;
    const auto target = record.target();
    if (!target && did.state == State::kStopped) {
        return std::nullopt;
    }
    if (target && did.state == State::kRunning && did.rev == target) {
        if (!view.watched.contains(machine)) {
            return step(Step::Kind::kCheck, machine);
        }
        return did.why ? std::optional(report(view, machine, record)) : std::nullopt; // held back
    }
    if (tried) {
        return report(view, machine, record);
    }
    return step(target ? Step::Kind::kResume : Step::Kind::kStop, machine);
}

} // namespace

std::vector<Step> plan_ensure(const RepoView& view) {
    std::vector<Step> plan;
    for (const auto& [name, rev] : view.branches) {
        if (!Machine::valid(name)) {
            continue;
        }
        const auto machine = Machine::parse(name);
        const auto record = view.records.find(machine);
        const auto one = record == view.records.end()
                             ? step_for(view, machine, rev, MachineRecord{})
                             : step_for(view, machine, rev, record->second);
        if (one) {
            plan.push_back(*one);
        }
    }
    std::set<Machine> known = view.registered;
    for (const auto& [machine, record] : view.records) {
        known.insert(machine);
    }
    for (const Machine& machine : known) {
        if (!view.branches.contains(machine.str())) {
            plan.push_back(step(Step::Kind::kForget, machine));
        }
    }
    return plan;
}

std::vector<Repair> plan_repairs(const Records::All& records,
                                 const std::vector<MachineState>& seen) {
    std::vector<Repair> plan;
    std::map<MachinePath, const MachineState*> states;
    for (const MachineState& state : seen) {
        states.emplace_hint(states.end(), state.path, &state); // Nomad's list is in order
    }
    for (const auto& [path, record] : records) {
        const auto at = states.find(path);
        const MachineState* state = at == states.end() ? nullptr : at->second;
        const bool up = state != nullptr && state->is_up();
        const bool other = up && record.did.state == State::kRunning && record.did.spec &&
                           state->spec && state->spec != record.did.spec;
        if (!record.target()) {
            if (up) {
                plan.push_back({.kind = Repair::Kind::kStop, .path = path});
            }
        } else if (other) {
            plan.push_back({.kind = Repair::Kind::kUpdate, .path = path});
        } else if (!up && !(state != nullptr && state->rests())) {
            plan.push_back({.kind = Repair::Kind::kResume, .path = path});
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
