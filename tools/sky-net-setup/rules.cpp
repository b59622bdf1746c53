// SPDX-License-Identifier: MIT
#include <sky-net-setup/rules.hpp>
#include <sky/error.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

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
        if (type.starts_with("ip")) {
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
std::vector<std::string> wildcards(const std::string& head) {
    std::vector<std::string> result;
    result.reserve(10);
    for (int digit = 0; digit < 10; ++digit) {
        result.push_back(fmt::format("\"{}{}*\"", head, digit));
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

constexpr std::string_view kInetChains = R"(
  # Tenants' and machines' processes: the operator's list, never this host or a guest. A socket
  # belongs to who opened it, so what sshd accepted is root's.
  chain guarded {
    fib daddr type != unicast reject with icmpx type admin-prohibited
    ip daddr @guests reject with icmpx type admin-prohibited
    ip daddr @cluster4 reject with icmpx type admin-prohibited
    ip6 daddr @cluster6 reject with icmpx type admin-prohibited
    ip daddr @egress4 accept
    ip6 daddr @egress6 accept
    reject with icmpx type admin-prohibited
  }
  chain output {
    type filter hook output priority filter; policy accept;
    meta skuid @guarded_uids jump guarded
  }

  # From guests the host takes DHCP and DNS, on their own bridge, and answers to itself.
  chain from_guest {
    ct state established,related accept
    meta nfproto ipv4 udp dport 67 accept
    fib daddr . iif type local meta l4proto { tcp, udp } th dport 53 accept
    drop
  }
  chain input {
    type filter hook input priority filter; policy accept;
    iifname @bridges jump from_guest
  }

  # Out to the world, not to other tenants or into the cluster, but for answers. The pair is for bridged packets that come by here where
  # br_netfilter is on.
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname . oifname @same_bridge accept
    iifname @bridges jump out_of_guest
    oifname @bridges jump to_guest
  }
  chain out_of_guest {
    oifname @bridges drop
    ip daddr @guests drop
    ip daddr @cluster4 ct state != { established, related } drop
    meta nfproto ipv6 drop
  }
  chain to_guest {
    ct state established,related accept
    ip daddr @masqueraded drop
    meta nfproto ipv6 drop
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr @masqueraded oifname != @bridges masquerade
  }
}
)";

constexpr std::string_view kBridgeChains = R"(
  # Each frame is looked up by its port: the cost does not grow with the number of ports.
  # `ether type` sees VLAN tags too, those that the device took off included.
  chain from_tap {
    iifname . ether saddr != @macs drop
    ether type vmap { ip : jump from_tap_ip, arp : jump from_tap_arp }
    drop
  }
  chain from_tap_ip {
    ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept
    iifname . ip saddr != @addresses drop
    udp sport 67 drop
    udp dport 68 drop
    accept
  }
  chain from_tap_arp {
    arp htype 1 arp ptype ip iifname . arp saddr ether . arp saddr ip @arp_senders accept
    drop
  }
  chain prerouting {
    type filter hook prerouting priority -300; policy accept;
    iifname @taps jump from_tap
  }
  # Link-local groups (LLDP, pause) do not pass prerouting.
  chain input {
    type filter hook input priority -300; policy accept;
    iifname @taps ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 drop
  }
}
)";

std::string inet_table(const Rules& r) {
    std::vector<std::string> uids;
    for (const uid_t uid : r.tenants) {
        uids.push_back(std::to_string(uid));
    }
    uids.push_back(fmt::format("{}-{}", r.machines_first, r.machines_last));
    std::vector<std::string> same;
    for (const std::string& name : r.bridges) {
        same.push_back(fmt::format("\"{0}\" . \"{0}\"", name));
    }
    std::string text =
        fmt::format("table inet {0}\ndelete table inet {0}\ntable inet {0} {{\n", r.prefix);
    text += set_text("guarded_uids", "uid", true, uids);
    text += set_text("cluster4", "ipv4_addr", true, r.cluster4);
    text += set_text("cluster6", "ipv6_addr", true, r.cluster6);
    text += set_text("egress4", "ipv4_addr", true, r.egress4);
    text += set_text("egress6", "ipv6_addr", true, r.egress6);
    text += set_text("guests", "ipv4_addr", true, texts(r.guests));
    text += set_text("masqueraded", "ipv4_addr", true, texts(r.masquerade));
    text += set_text("bridges", "ifname", true, wildcards(r.prefix + "b"));
    text += set_text("same_bridge", "ifname . ifname", false, same);
    return text.append(kInetChains);
}

std::string bridge_table(const Rules& r) {
    std::vector<std::string> macs;
    std::vector<std::string> addresses;
    std::vector<std::string> arp;
    for (const auto& tap : r.taps) {
        macs.push_back(fmt::format("\"{}\" . {}", tap.name, tap.mac));
        addresses.push_back(fmt::format("\"{}\" . {}", tap.name, tap.address.str()));
        // 0.0.0.0: a probe for a duplicate address, which tells nobody anything (RFC 5227).
        for (const std::string& ip : {tap.address.str(), std::string("0.0.0.0")}) {
            arp.push_back(fmt::format("\"{}\" . {} . {}", tap.name, tap.mac, ip));
        }
    }
    std::string text = fmt::format("table bridge {0}\ndelete table bridge {0}\n", r.prefix);
    text += fmt::format("table bridge {} {{\n", r.prefix);
    text += set_text("taps", "ifname", true, wildcards(r.prefix + "t"));
    text += set_text("macs", "ifname . ether_addr", false, macs);
    text += set_text("addresses", "ifname . ipv4_addr", false, addresses);
    text += set_text("arp_senders", "ifname . ether_addr . ipv4_addr", false, arp);
    return text.append(kBridgeChains);
}

} // namespace

Rules make_rules(const Config& config, const std::vector<MachineNet>& machines) {
    Rules rules;
    rules.prefix = config.prefix;
    for (const auto& [name, tenant] : config.tenants) {
        rules.tenants.push_back(tenant.uid);
    }
    rules.machines_first = config.machine_uid_first;
    rules.machines_last = config.machine_uid_first + config.machine_uid_count - 1;
    sort_by_family("cell.egress", config.cell.egress, rules.egress4, rules.egress6);
    sort_by_family("cluster", config.cluster, rules.cluster4, rules.cluster6);
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
    }
    std::set<std::string> bridges;
    for (const MachineNet& machine : machines) {
        for (const Port& port : machine.ports) {
            bridges.insert(port.bridge);
            rules.taps.push_back({port.outside, port.mac, port.address});
        }
    }
    rules.bridges.assign(bridges.begin(), bridges.end());
    return rules;
}

std::string render_rules(const Rules& rules) {
    std::string text = inet_table(rules);
    // Without a guest there is nothing to guard on bridges.
    return rules.taps.empty()
               ? text + fmt::format("table bridge {0}\ndelete table bridge {0}\n", rules.prefix)
               : text + bridge_table(rules);
}

std::string render_removal(const std::string& prefix) {
    return fmt::format("table inet {0}\ndelete table inet {0}\n"
                       "table bridge {0}\ndelete table bridge {0}\n",
                       prefix);
}

} // namespace sky::net
