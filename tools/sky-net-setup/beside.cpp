// SPDX-License-Identifier: MIT
#include <sky-net-setup/beside.hpp>

#include <sky-net-setup/dnsmasq.hpp>
#include <sky-net-setup/facts.hpp>
#include <sky-net-setup/segment-links.hpp>
#include <sky-net-setup/segment.hpp>
#include <sky/error.hpp>
#include <sky/log.hpp>
#include <sky/registry.hpp>

#include <algorithm>

namespace sky::net {
namespace {

/// Whether a segment is a VLAN that nobody else is on: its trunk has others, which the plan of one
/// machine does not know.
bool alone_on_trunk(const MachineNet& machine, const std::vector<MachineNet>& others) {
    return std::any_of(machine.ports.begin(), machine.ports.end(), [&](const Port& port) {
        return port.mode == Mode::kVlan &&
               std::none_of(others.begin(), others.end(), [&](const MachineNet& other) {
                   return other.ports.front().bridge == port.bridge;
               });
    });
}

} // namespace

Plan plan_of(const Config& config, std::vector<MachineNet> machines,
             const std::optional<Registry>& registry) {
    return make_plan(config, std::move(machines), read_facts(config),
                     registry ? &*registry : nullptr);
}

std::optional<Registry> try_registry(const Config& config) {
    try {
        return load_registry(config);
    } catch (const Error& e) {
        log::debug("no registry: {}", e.what());
        return std::nullopt;
    }
}

bool has_address_of(const MachineNet& one, const MachineNet& other) {
    return std::any_of(one.ports.begin(), one.ports.end(), [&](const Port& mine) {
        return std::any_of(other.ports.begin(), other.ports.end(), [&](const Port& theirs) {
            return mine.bridge == theirs.bridge && mine.address.str() == theirs.address.str();
        });
    });
}

bool join_beside(const Config& config, const Host& host, const MachineNet& machine,
                 const Registry& registry) {
    const auto was = host.machine(machine.path);
    auto machines = host.neighbours(machine);
    if ((was && was->dump() != machine.dump()) || alone_on_trunk(machine, machines) ||
        std::any_of(machines.begin(), machines.end(),
                    [&](const MachineNet& other) { return has_address_of(other, machine); })) {
        return false;
    }
    machines.push_back(machine);
    const Plan plan = plan_of(config, std::move(machines), registry);
    if (!host.stands(plan)) {
        return false;
    }
    check_kernel(config, plan);
    try {
        host.join(plan, machine);
    } catch (const Error& e) {
        log::debug("all is looked at: {}", e.what());
        return false;
    }
    host.end(plan);
    return true;
}

bool leave_beside(const Config& config, const Host& host, const MachineNet& machine) {
    auto machines = host.neighbours(machine);
    if (alone_on_trunk(machine, machines)) {
        return false;
    }
    // Names of machines elsewhere are for segments that reach there.
    const bool here = std::all_of(machine.ports.begin(), machine.ports.end(),
                                  [](const Port& port) { return port.mode == Mode::kBridge; });
    const auto registry = here ? std::nullopt : try_registry(config);
    const bool alone = machines.empty();
    const Plan plan = plan_of(config, std::move(machines), registry);
    if (!host.stands(plan) || alone) {
        return false;
    }
    std::vector<Bridge> was;
    const Facts facts = read_facts(config);
    for (const Port& port : machine.ports) {
        was.push_back(segment_of(port, config, facts));
    }
    try {
        host.leave(plan, machine, was);
    } catch (const Error& e) {
        log::debug("all is looked at: {}", e.what());
        return false;
    }
    host.end(plan);
    return true;
}

bool attach_beside(const Config& config, const Host& host, const MachineNet& machine,
                   const Fd& netns) {
    const Plan plan = plan_of(config, {machine}, std::nullopt); // a tap needs no neighbour
    const bool served =
        std::all_of(plan.bridges.begin(), plan.bridges.end(), [&](const Bridge& bridge) {
            return !bridge.served || dnsmasq_runs(config, bridge.name);
        });
    if (!served || !host.stands(plan)) {
        return false;
    }
    try {
        host.attach(machine, plan, netns);
    } catch (const Error& e) {
        log::debug("all is looked at: {}", e.what());
        return false;
    }
    return true;
}

} // namespace sky::net
