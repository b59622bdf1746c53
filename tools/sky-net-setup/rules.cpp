// SPDX-License-Identifier: MIT
#include <sky-net-setup/rules.hpp>

#include <sky-net-setup/chains.hpp>
#include <sky/error.hpp>
#include <sky/hash.hpp>

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <set>

namespace sky::net {
namespace {

constexpr std::string_view kMarkHead = "rules_";

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
    std::string text = fresh_table("inet", r.prefix);
    text += set_text("gateways", "ipv4_addr . ipv4_addr", true, {});
    text += set_text("gateways6", "ipv6_addr . ipv6_addr", true, {});
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
    text += set_text("same_bridge", "ifname . ifname", false, {});
    text += set_text("same_group", "devgroup . devgroup", false, {});
    text += set_text("same_segment", "ipv4_addr . ipv4_addr", true, {});
    text += set_text("same_segment6", "ipv6_addr . ipv6_addr", true, {});
    std::string chains(kInetChains);
    if (r.storage_clients) { // each machine's fourth uid is its storage process's, and no tenant's
        const uid_t fourth = (r.machines_first + 3) & 3U;
        constexpr std::string_view kGuard = "    meta skuid @guarded_uids jump guarded\n";
        chains.insert(
            chains.find(kGuard),
            fmt::format("    meta skuid {}-{} meta skuid & 3 == {} meta l4proto tcp accept\n",
                        r.machines_first, r.machines_last, fourth));
    }
    text += chains;
    if (!r.masquerade.empty() || !r.masquerade6.empty()) { // else no packet need pay for it
        text += kNatChain;
    }
    return text + "}\n";
}

/// A base chain of a link's in place of any that is there: `add` makes what `delete` would miss.
std::string no_chain(const std::string& prefix, const std::string& name) {
    return fmt::format("add chain netdev {0} {1}\nflush chain netdev {0} {1}\n"
                       "delete chain netdev {0} {1}\n",
                       prefix, name);
}

std::string link_chain(const std::string& prefix, const std::string& name, const char* hook,
                       const std::string& link, const char* policy, const std::string& rules) {
    return no_chain(prefix, name) +
           fmt::format("table netdev {} {{\n  chain {} {{\n    type filter hook {} device \"{}\" "
                       "priority -300; policy {};\n{}  }}\n}}\n",
                       prefix, name, hook, link, policy, rules);
}

/// In words for which nft asks the kernel for no other chain: there may be thousands. What is there
/// already is of the same link, and is filled anew.
std::string guard_chain(const std::string& prefix, const std::string& tap,
                        const std::string& rules) {
    const std::string add = fmt::format("add chain netdev {} {} {{\n    type filter hook ingress "
                                        "device \"{}\" priority -300; policy drop;\n",
                                        prefix, tap, tap);
    return fmt::format("{0}}}\nflush chain netdev {1} {2}\n{0}{3}}}\n", add, prefix, tap, rules);
}

std::string hex_of_mac(std::string mac) {
    std::erase(mac, ':');
    return mac;
}

/// Pairs of a routed segment's subnet and itself, and its gateway's address.
std::vector<std::string> segment_elements(const Bridge& bridge) {
    std::vector<std::string> elements;
    if (!bridge.switch_name().empty()) {
        elements.push_back(
            fmt::format("same_bridge {{ {} }}", pair_of("\"" + bridge.switch_name() + "\"")));
    }
    if (bridge.mode == Mode::kRouted) {
        const std::string subnet = bridge.subnet.str();
        elements.push_back(
            fmt::format("same_group {{ {} }}", pair_of(std::to_string(bridge.group()))));
        elements.push_back(fmt::format("same_segment {{ {} }}", pair_of(subnet)));
        elements.push_back(fmt::format("gateways {{ {} . {} }}", subnet, bridge.gateway().str()));
        if (!bridge.ipv6.empty()) {
            const std::string subnet6 = bridge.ipv6 + "/64";
            elements.push_back(fmt::format("same_segment6 {{ {} }}", pair_of(subnet6)));
            elements.push_back(
                fmt::format("gateways6 {{ {} . {} }}", subnet6, ipv6_gateway(bridge.ipv6)));
        }
    }
    return elements;
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

Rules make_rules(const Config& config) {
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
    return rules;
}

std::string render_rules(const Rules& rules) {
    const std::string text =
        inet_table(rules) + fresh_table("netdev", rules.prefix).append(kLinkChains) + "}\n";
    const Sha256 hash = sha256(text);
    return text + fmt::format("add chain inet {} {}{:02x}\n", rules.prefix, kMarkHead,
                              fmt::join(hash.begin(), hash.begin() + 8, ""));
}

std::string mark_of(const std::string& rules) {
    const auto at = rules.rfind(kMarkHead);
    return at == std::string::npos ? "" : rules.substr(at, rules.size() - at - 1);
}

std::string render_segment(const std::string& prefix, const Bridge& bridge) {
    std::string text;
    for (const std::string& element : segment_elements(bridge)) {
        text += fmt::format("add element inet {} {}\n", prefix, element);
    }
    return text;
}

std::string render_no_segment(const std::string& prefix, const Bridge& bridge) {
    std::string text = render_segment(prefix, bridge);
    for (const std::string& element : segment_elements(bridge)) {
        text += fmt::format("delete element inet {} {}\n", prefix, element);
    }
    return text;
}

std::string render_guard(const std::string& prefix, const Port& port) {
    const std::string ip = port.address.str();
    const std::string mac = hex_of_mac(port.mac);
    std::string rules;
    const auto rule = [&](const std::string& text) { rules += "    " + text + "\n"; };
    // Most frames, at the cost of one look: to one receiver, IPv4, and nothing of DHCP's. What is
    // compared is in the frame: a tagged one has another type, of which the device knows nothing.
    rule(fmt::format("@ll,0,112 & 0x010000000000ffffffffffffffff == 0x000000000000{}0800 "
                     "@nh,96,32 {:#010x} @th,0,16 > 68 @th,16,16 > 68 accept",
                     mac, port.address.value));
    rule(fmt::format("@ll,48,48 != 0x{} drop", mac));
    rule("ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 drop"); // LLDP, pause
    // 0.0.0.0: a probe for a duplicate address, which tells nobody anything (RFC 5227).
    for (const std::string& sender : {ip, std::string("0.0.0.0")}) {
        rule(fmt::format("@ll,96,16 0x0806 arp htype 1 arp ptype ip arp saddr ether {} "
                         "arp saddr ip {} accept",
                         port.mac, sender));
    }
    rule("@ll,96,16 0x0800 ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 "
         "accept");
    rule(fmt::format("@ll,96,16 0x0800 ip saddr {} goto from_tap_ip", ip));
    if (!port.ipv6.empty()) {
        const std::array<std::string, 2> own{ipv6_address(port.ipv6, port.mac),
                                             ipv6_address("fe80::", port.mac)};
        rule(fmt::format("@ll,96,16 0x86dd ip6 saddr {} meta l4proto tcp accept", own[0]));
        // The target of a solicitation for duplicates and of an advertisement is the sender's own.
        for (const std::string& target : own) {
            const std::string at = "@th,64,128 0x" + ipv6_hex(target) + " accept";
            rule("@ll,96,16 0x86dd ip6 saddr :: icmpv6 type nd-neighbor-solicit " + at);
            for (const std::string& address : own) {
                rule(fmt::format("@ll,96,16 0x86dd ip6 saddr {} icmpv6 type nd-neighbor-advert {}",
                                 address, at));
            }
        }
        for (const std::string& address : own) {
            rule(fmt::format("@ll,96,16 0x86dd ip6 saddr {} goto from_tap_ip6", address));
        }
    }
    return guard_chain(prefix, port.outside, rules);
}

std::string render_uplink(const std::string& prefix, const std::string& uplink) {
    const std::string name = switch_name(prefix, uplink); // without what nft would misread
    const std::string rules = "    jump uplink\n";
    return link_chain(prefix, "from_" + name, "ingress", uplink, "accept", rules) +
           link_chain(prefix, "to_" + name, "egress", uplink, "accept", rules);
}

std::string render_no_uplink(const std::string& prefix, const std::string& uplink) {
    const std::string name = switch_name(prefix, uplink);
    return no_chain(prefix, "from_" + name) + no_chain(prefix, "to_" + name);
}

std::string render_removal(const std::string& prefix) {
    return no_table("inet", prefix) + no_table("netdev", prefix);
}

} // namespace sky::net
