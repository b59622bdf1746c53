// SPDX-License-Identifier: MIT
#include <sky-net-setup/chains.hpp>
#include <sky-net-setup/rules.hpp>
#include <sky/error.hpp>

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

namespace sky::net {
namespace {

Subnet network_of(const Network& name, const NetworkConfig& network) {
    try {
        return Subnet::parse(network.ipv4);
    } catch (const Error& e) {
        throw Error(ExitCode::kConfig, fmt::format("networks.{}.ipv4: {}", name.str(), e.what()));
    }
}

/// A set, its elements given; nft wants no `elements` for none.
std::string set_text(std::string_view name, std::string_view type, bool interval,
                     const std::vector<std::string>& elements) {
    std::string text = fmt::format("  set {} {{ type {};", name, type);
    if (interval) {
        text += " flags interval;";
        if (type.starts_with("ip") && type.find('.') == std::string_view::npos) {
            text += " auto-merge;"; // the operator's ranges may overlap
        }
    }
    if (!elements.empty()) {
        text += fmt::format(" elements = {{ {} }};", fmt::join(elements, ", "));
    }
    return text + " }\n";
}

/// Links of ours by what only we name so: a digit follows, so prefixes never match each other's.
/// A link that the plan forgot is caught all the same.
std::vector<std::string> wildcards(const std::vector<std::string>& heads) {
    std::vector<std::string> result;
    result.reserve(10 * heads.size());
    for (const std::string& head : heads) {
        for (int digit = 0; digit < 10; ++digit) {
            result.push_back(fmt::format("\"{}{}*\"", head, digit));
        }
    }
    return result;
}

std::vector<std::string> texts(const std::vector<Subnet>& subnets) {
    std::vector<std::string> result;
    result.reserve(subnets.size());
    for (const Subnet& s : subnets) {
        result.push_back(s.str());
    }
    return result;
}

void sort_by_family(const char* key, const std::vector<std::string>& cidrs,
                    std::vector<std::string>& ipv4, std::vector<std::string>& ipv6) {
    for (const std::string& cidr : cidrs) {
        const int family = family_of_cidr(cidr);
        if (family == 0) {
            fail(ExitCode::kConfig, "{}: '{}' is not an address or subnet", key, printable(cidr));
        }
        (family == 4 ? ipv4 : ipv6).push_back(cidr);
    }
}

std::string pair_of(std::string_view one) {
    return fmt::format("{0} . {0}", one);
}

/// The sets that kTapChains and those around it look a tap up in.
std::string tap_sets(const Rules& r, const std::vector<Rules::Tap>& taps) {
    std::vector<std::string> macs;
    std::vector<std::string> addresses;
    std::vector<std::string> addresses6;
    std::vector<std::string> targets;
    for (const auto& tap : taps) {
        macs.push_back(fmt::format("\"{}\" . {}", tap.name, tap.mac));
        addresses.push_back(fmt::format("\"{}\" . {}", tap.name, tap.address.str()));
        for (const std::string& address : tap.ipv6) {
            addresses6.push_back(fmt::format("\"{}\" . {}", tap.name, address));
            targets.push_back(fmt::format("\"{}\" . 0x{}", tap.name, ipv6_hex(address)));
        }
    }
    std::string text = set_text("taps", "ifname", true, wildcards({r.prefix + "t"}));
    text += set_text("macs", "ifname . ether_addr", false, macs);
    text += set_text("addresses", "ifname . ipv4_addr", false, addresses);
    text += set_text("addresses6", "ifname . ipv6_addr", false, addresses6);
    text += "  set targets { typeof iifname . @th,64,128;";
    if (!targets.empty()) {
        text += fmt::format(" elements = {{ {} }};", fmt::join(targets, ", "));
    }
    return text + " }\n";
}

std::string arp_set(const std::vector<Rules::Tap>& taps) {
    std::vector<std::string> arp;
    for (const auto& tap : taps) {
        // 0.0.0.0: a probe for a duplicate address, which tells nobody anything (RFC 5227).
        for (const std::string& ip : {tap.address.str(), std::string("0.0.0.0")}) {
            arp.push_back(fmt::format("\"{}\" . {} . {}", tap.name, tap.mac, ip));
        }
    }
    return set_text("arp_senders", "ifname . ether_addr . ipv4_addr", false, arp);
}

std::string fresh_table(std::string_view family, const std::string& prefix) {
    return fmt::format("table {0} {1}\ndelete table {0} {1}\ntable {0} {1} {{\n", family, prefix);
}

std::string no_table(std::string_view family, const std::string& prefix) {
    return fmt::format("table {0} {1}\ndelete table {0} {1}\n", family, prefix);
}

std::string inet_table(const Rules& r) {
    std::vector<std::string> uids;
    for (const uid_t uid : r.tenants) {
        uids.push_back(std::to_string(uid));
    }
    if (r.added) {
        uids.push_back(fmt::format("{}-{}", r.added->first, r.added->second));
    }
    uids.push_back(fmt::format("{}-{}", r.machines_first, r.machines_last));
    std::vector<std::string> same;
    for (const std::string& name : r.bridges) {
        same.push_back(pair_of("\"" + name + "\""));
    }
    std::vector<std::string> segments;
    for (const Subnet& subnet : r.routed) {
        segments.push_back(pair_of(subnet.str()));
    }
    std::vector<std::string> segments6;
    for (const std::string& subnet : r.routed6) {
        segments6.push_back(pair_of(subnet));
    }
    std::vector<std::string> gateways;
    std::vector<std::string> gateways6;
    for (const auto& tap : r.routed_taps) {
        for (const std::string& address : tap.gateway) {
            gateways.push_back(fmt::format("\"{}\" . {}", tap.name, address));
        }
        for (const std::string& address : tap.gateway6) {
            gateways6.push_back(fmt::format("\"{}\" . {}", tap.name, address));
        }
    }
    std::string text = fresh_table("inet", r.prefix);
    text += set_text("gateways", "ifname . ipv4_addr", false, gateways);
    text += set_text("gateways6", "ifname . ipv6_addr", false, gateways6);
    text += set_text("guarded_uids", "uid", true, uids);
    text += set_text("cluster4", "ipv4_addr", true, r.cluster4);
    text += set_text("cluster6", "ipv6_addr", true, r.cluster6);
    text += set_text("egress4", "ipv4_addr", true, r.egress4);
    text += set_text("egress6", "ipv6_addr", true, r.egress6);
    text += set_text("guests", "ipv4_addr", true, texts(r.guests));
    text += set_text("guests6", "ipv6_addr", true, r.guests6);
    text += set_text("masqueraded", "ipv4_addr", true, texts(r.masquerade));
    text += set_text("masqueraded6", "ipv6_addr", true, r.masquerade6);
    text += set_text("nodes4", "ipv4_addr", false, r.nodes4);
    text += set_text("nodes6", "ipv6_addr", false, r.nodes6);
    text += set_text("vxlan_ports", "inet_service", false, r.vxlan_ports);
    text += set_text("guest_links", "ifname", true, wildcards({r.prefix + "b", r.prefix + "t"}));
    text += set_text("same_bridge", "ifname . ifname", false, same);
    text += set_text("same_segment", "ipv4_addr . ipv4_addr", true, segments);
    text += set_text("same_segment6", "ipv6_addr . ipv6_addr", true, segments6);
    text += tap_sets(r, r.routed_taps);
    std::string chains(kInetChains);
    if (r.storage_clients) { // each machine's fourth uid is its storage process's, and no tenant's
        const uid_t fourth = (r.machines_first + 3) & 3U;
        constexpr std::string_view kGuard = "    meta skuid @guarded_uids jump guarded\n";
        chains.insert(
            chains.find(kGuard),
            fmt::format("    meta skuid {}-{} meta skuid & 3 == {} meta l4proto tcp accept\n",
                        r.machines_first, r.machines_last, fourth));
    }
    return text.append(chains).append(kTapChains).append(kRoutedChains) + "}\n";
}

std::string bridge_table(const Rules& r) {
    std::vector<std::string> uplinks;
    uplinks.reserve(r.uplinks.size());
    for (const std::string& name : r.uplinks) {
        uplinks.push_back("\"" + name + "\"");
    }
    std::vector<std::string> senders;
    senders.reserve(r.taps.size());
    for (const auto& tap : r.taps) {
        senders.push_back(fmt::format("\"{}\" . {} . {}", tap.name, tap.mac, tap.address.str()));
    }
    std::string text = fresh_table("bridge", r.prefix) + tap_sets(r, r.taps) + arp_set(r.taps);
    text += set_text("senders", "ifname . ether_addr . ipv4_addr", false, senders);
    text += set_text("uplinks", "ifname", false, uplinks);
    return text.append(kTapChains).append(kTapArpChain).append(kBridgeChains) + "}\n";
}

std::string arp_table(const Rules& r) {
    std::string text = fresh_table("arp", r.prefix) + arp_set(r.routed_taps);
    text += set_text("taps", "ifname", true, wildcards({r.prefix + "t"}));
    return text.append(kTapArpChain).append(kArpChains) + "}\n";
}

void add_nodes(const Config& config, Rules& rules) {
    for (const auto& [host, node] : config.nodes) {
        const bool four = family_of(node.address) == 4;
        (four ? rules.nodes4 : rules.nodes6).push_back(node.address);
        (four ? rules.cluster4 : rules.cluster6).push_back(node.address);
    }
}

void add_networks(const Config& config, Rules& rules) {
    std::set<std::int64_t> ports;
    for (const auto& [name, network] : config.networks) {
        const Subnet subnet = network_of(name, network);
        for (const Subnet& other : rules.guests) {
            if (subnet.overlaps(other)) {
                fail(ExitCode::kConfig, "networks.{}.ipv4: overlaps with '{}'", name.str(),
                     other.str());
            }
        }
        rules.guests.push_back(subnet);
        if (network.masquerade) {
            rules.masquerade.push_back(subnet);
        }
        if (network.ipv6) {
            rules.guests6.push_back(*network.ipv6);
            if (network.masquerade) {
                rules.masquerade6.push_back(*network.ipv6);
            }
        }
        if (network.mode == Mode::kVxlan) {
            ports.insert(network.port);
        }
    }
    for (const std::int64_t port : ports) {
        rules.vxlan_ports.push_back(std::to_string(port));
    }
}

} // namespace

Rules make_rules(const Config& config, const std::vector<MachineNet>& machines,
                 const std::vector<Bridge>& bridges) {
    Rules rules;
    rules.prefix = config.prefix;
    for (const auto& [name, tenant] : config.tenants) {
        if (tenant.uid < config.tenant_uid_first ||
            tenant.uid - config.tenant_uid_first >= config.tenant_uid_count) {
            rules.tenants.push_back(tenant.uid);
        }
    }
    if (config.tenant_uid_count != 0) { // whoever is added later, too
        rules.added = {config.tenant_uid_first,
                       config.tenant_uid_first + config.tenant_uid_count - 1};
    }
    rules.machines_first = config.machine_uid_first;
    rules.machines_last = config.machine_uid_first + config.machine_uid_count - 1;
    const auto& classes = config.volumes.classes;
    rules.storage_clients = std::any_of(classes.begin(), classes.end(), [](const auto& each) {
        return each.second.kind == VolumeClass::Kind::kFenced;
    });
    sort_by_family("cell.egress", config.cell.egress, rules.egress4, rules.egress6);
    sort_by_family("cluster", config.cluster, rules.cluster4, rules.cluster6);
    add_nodes(config, rules);
    add_networks(config, rules);
    for (const Bridge& bridge : bridges) {
        if (!bridge.switch_name().empty()) {
            rules.bridges.push_back(bridge.switch_name());
        }
        if (bridge.served && !bridge.uplink.empty()) {
            rules.uplinks.push_back(bridge.uplink);
        }
        if (bridge.mode == Mode::kRouted) {
            rules.routed.push_back(bridge.subnet);
            if (!bridge.ipv6.empty()) {
                rules.routed6.push_back(bridge.ipv6 + "/64");
            }
        }
    }
    for (auto* list : {&rules.bridges, &rules.uplinks}) { // VLANs of one trunk
        std::sort(list->begin(), list->end());
        list->erase(std::unique(list->begin(), list->end()), list->end());
    }
    for (const MachineNet& machine : machines) {
        for (const Port& port : machine.ports) {
            Rules::Tap tap{port.outside, port.mac, port.address, {}, {}, {}};
            tap.gateway = {port.subnet.gateway().str()};
            if (!port.ipv6.empty()) {
                tap.ipv6 = {ipv6_address("fe80::", port.mac), ipv6_address(port.ipv6, port.mac)};
                tap.gateway6 = {kGatewayLocal, ipv6_gateway(port.ipv6)};
            }
            (port.mode == Mode::kRouted ? rules.routed_taps : rules.taps).push_back(std::move(tap));
        }
    }
    return rules;
}

std::string render_rules(const Rules& rules) {
    std::string text = inet_table(rules);
    // Without a guest there is nothing to guard on bridges.
    text += rules.taps.empty() ? no_table("bridge", rules.prefix) : bridge_table(rules);
    text += rules.routed_taps.empty() ? no_table("arp", rules.prefix) : arp_table(rules);
    return text;
}

std::string render_removal(const std::string& prefix) {
    return no_table("inet", prefix) + no_table("bridge", prefix) + no_table("arp", prefix);
}

} // namespace sky::net
