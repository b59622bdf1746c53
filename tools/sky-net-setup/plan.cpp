// SPDX-License-Identifier: MIT
#include <sky-net-setup/plan.hpp>

#include <sky-net-setup/rules.hpp>
#include <sky-net-setup/segment.hpp>
#include <sky/error.hpp>

#include <algorithm>
#include <fmt/ranges.h>

namespace sky::net {
namespace {

std::string describe(const Bridge& b) {
    std::string text = b.mode == Mode::kRouted ? "gateway" : "bridge";
    text += fmt::format(" {}", b.name);
    if (b.served) {
        text += fmt::format(" {} {}/{}", b.mac, b.gateway().str(), b.subnet.prefix);
        if (!b.ipv6.empty()) {
            text += fmt::format(" {}/64", ipv6_gateway(b.ipv6));
        }
    }
    text += fmt::format(" mtu {}", b.mtu);
    if (b.mode == Mode::kVlan) {
        text += fmt::format(" vlan {} of {} on {}", b.id, b.below, b.uplink);
    } else if (b.mode == Mode::kVxlan) {
        text += fmt::format(" vni {} from {} to {}", b.id, b.local, fmt::join(b.peers, ","));
    } else if (!b.uplink.empty()) {
        text += fmt::format(" with {}", b.uplink);
    }
    return text + "\n";
}

} // namespace

const std::string& Bridge::switch_name() const {
    static const std::string none;
    return mode == Mode::kRouted ? none : mode == Mode::kVlan ? below : name;
}

const Bridge* Plan::find_bridge(std::string_view name) const {
    const auto at = std::find_if(bridges.begin(), bridges.end(),
                                 [&](const Bridge& b) { return b.name == name; });
    return at == bridges.end() ? nullptr : &*at;
}

bool Plan::has_link(std::string_view name) const {
    return std::any_of(bridges.begin(), bridges.end(), [&](const Bridge& b) {
        return b.name == name || b.below == name || b.uplink == name;
    });
}

std::set<std::string> Plan::taps() const {
    std::set<std::string> names;
    for (const MachineNet& machine : machines) {
        for (const Port& port : machine.ports) {
            names.insert(port.outside);
        }
    }
    return names;
}

std::string Plan::describe() const {
    std::string text;
    for (const Bridge& b : bridges) {
        text += net::describe(b);
    }
    for (const MachineNet& m : machines) {
        for (const Port& p : m.ports) {
            text +=
                fmt::format("tap {} ({} of {}) {} {} on {} uid {} queues {}\n", p.outside, p.inside,
                            m.path.text(), p.mac, p.address.str(), p.bridge, m.owner, p.queues);
        }
    }
    std::set<std::string> links = taps();
    for (const Bridge& b : bridges) {
        links.insert(b.uplink);
    }
    return text + base + rules + guards_of(links);
}

std::string Plan::guards_of(const std::set<std::string>& links) const {
    std::string text;
    for (const auto& [link, guard] : guards) {
        if (links.contains(link)) {
            text += guard;
        }
    }
    for (const MachineNet& machine : machines) {
        for (const Port& port : machine.ports) {
            if (links.contains(port.outside)) {
                text += render_guard(prefix, port);
            }
        }
    }
    return text;
}

Plan make_plan(const Config& config, std::vector<MachineNet> machines, const Facts& facts,
               const Registry* registry) {
    std::map<std::string, Bridge> bridges;
    std::map<std::string, Names> names;
    for (const MachineNet& m : machines) {
        for (const Port& p : m.ports) {
            Bridge& bridge = bridges.try_emplace(p.bridge).first->second;
            if (bridge.name.empty()) {
                bridge = segment_of(p, config, facts);
                const auto& of = names.try_emplace(p.bridge, bridge, p.network, machines, registry);
                bridge.elsewhere = of.first->second.elsewhere();
            }
            bridge.hosts.push_back({p.mac, p.address,
                                    p.ipv6.empty() ? "" : ipv6_address(p.ipv6, p.mac),
                                    names.at(p.bridge).of(m.path)});
            bridge.taps.push_back(p.outside);
        }
    }
    Plan plan;
    plan.prefix = config.prefix;
    plan.base = render_rules(make_rules(config));
    plan.mark = mark_of(plan.base);
    for (auto& [name, bridge] : bridges) {
        // In an order that does not hang on who asks.
        std::sort(bridge.hosts.begin(), bridge.hosts.end(),
                  [](const auto& a, const auto& b) { return a.address.value < b.address.value; });
        std::sort(bridge.taps.begin(), bridge.taps.end());
        plan.rules += render_segment(config.prefix, bridge);
        if (bridge.served && !bridge.uplink.empty()) {
            plan.guards[bridge.uplink] = render_uplink(config.prefix, bridge.uplink);
        }
        plan.bridges.push_back(std::move(bridge));
    }
    plan.machines = std::move(machines);
    return plan;
}

} // namespace sky::net
