// SPDX-License-Identifier: MIT
#include <sky-net-setup/segment-links.hpp>

#include <sky-net-setup/announce.hpp>
#include <sky-net-setup/firewall.hpp>
#include <sky-net-setup/sysctl.hpp>
#include <sky/error.hpp>

#include <map>

namespace sky::net {
namespace {

/// This host's addresses on a link whose guests it serves. `prefix`: 32 where no neighbour is
/// there. On a routed tap IPv6 has the link-local one alone: dnsmasq advertises a prefix from one
/// link that has it, and that shall be the segment's, whose word it takes to all taps.
void give_addresses(Links& links, const std::string& link, const Bridge& bridge,
                    std::uint32_t prefix) {
    set_link_sysctl("ipv4", link, "arp_ignore", "1"); // no other address of ours
    links.ensure_address(link, bridge.gateway().str(), prefix);
    set_link_sysctl("ipv6", link, "addr_gen_mode", "1");
    set_link_sysctl("ipv6", link, "accept_ra", "0");
    set_link_sysctl("ipv6", link, "disable_ipv6", bridge.ipv6.empty() ? "1" : "0");
    if (!bridge.ipv6.empty()) {
        links.ensure_address(link, kGatewayLocal, 64);
        if (link == bridge.name) {
            links.ensure_address(link, ipv6_gateway(bridge.ipv6), 64, prefix == 32);
        }
    }
}

/// Plugs the operator's link, or our VXLAN, in, its rules first. Throws Error(kConfig) when it is
/// another's already.
void take_uplink(Links& links, const Plan& plan, const std::string& uplink,
                 const std::string& bridge) {
    const auto link = links.find(uplink);
    const auto master = links.find(bridge);
    if (!link || !master) {
        return; // it is missed by who needs it: `up` refuses
    }
    if (link->master != 0 && link->master != master->index) {
        fail(ExitCode::kConfig, "networks.*.uplink: '{}' is in another bridge", uplink);
    }
    const auto guard = plan.guards.find(uplink);
    if (link->master == 0 && guard != plan.guards.end()) {
        load_rules(guard->second);
    }
    links.enslave(uplink, bridge);
    links.set_up(uplink);
}

void make_switches(Links& links, const Plan& plan) {
    std::map<std::string, std::vector<const Bridge*>> switches;
    for (const Bridge& bridge : plan.bridges) {
        if (!bridge.below.empty()) {
            switches[bridge.below].push_back(&bridge);
        }
    }
    for (const auto& [name, segments] : switches) {
        std::set<std::int64_t> ids;
        std::set<std::int64_t> own;
        std::int64_t mtu = 0;
        for (const Bridge* segment : segments) {
            ids.insert(segment->id);
            mtu = std::max(mtu, segment->mtu);
            if (segment->served) {
                own.insert(segment->id);
            }
        }
        const std::string& trunk = segments.front()->uplink;
        const auto link = links.find(trunk);
        links.ensure_switch(name, link ? std::max(mtu, link->mtu) : mtu);
        set_link_sysctl("ipv6", name, "disable_ipv6", "1");
        links.set_up(name);
        take_uplink(links, plan, trunk, name);
        if (link) {
            links.set_trunk_vlans(trunk, ids, false);
        }
        links.set_trunk_vlans(name, own, true);
        for (const Bridge* segment : segments) {
            if (segment->served) { // else it would be sent to all, out of the trunk too
                links.keep_for_us(name, segment->mac, segment->id);
            }
        }
    }
}

} // namespace

void make_segments(Links& links, const Plan& plan) {
    make_switches(links, plan);
    for (const Bridge& bridge : plan.bridges) {
        if (bridge.mode == Mode::kVlan) {
            if (!bridge.served || bridge.below.empty()) {
                continue; // the switch is all of it
            }
            links.ensure_vlan(bridge.name, bridge.below, bridge.id, bridge.mac, bridge.mtu);
        } else {
            links.ensure_bridge(bridge.name, bridge.mac, bridge.mtu);
        }
        if (bridge.served) {
            give_addresses(links, bridge.name, bridge,
                           bridge.mode == Mode::kRouted ? 32 : bridge.subnet.prefix);
        } else {
            set_link_sysctl("ipv6", bridge.name, "disable_ipv6", "1");
        }
        links.set_up(bridge.name);
        if (bridge.mode == Mode::kVxlan && !bridge.uplink.empty()) {
            links.ensure_vxlan(bridge.uplink, bridge);
            set_link_sysctl("ipv6", bridge.uplink, "disable_ipv6", "1");
        }
        if (bridge.mode != Mode::kVlan && !bridge.uplink.empty()) {
            take_uplink(links, plan, bridge.uplink, bridge.name);
        }
    }
}

void check_kernel(const Config& config, const Plan& plan) {
    // Tried with Linux 6.1: what comes from a switch and is routed then is lost with it.
    constexpr const char* kSetting = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    const auto filters = read_file_if_exists(kSetting, 16);
    for (const Bridge& bridge : plan.bridges) {
        if (bridge.mode == Mode::kVlan && bridge.served && filters && filters->starts_with("1")) {
            fail(ExitCode::kConfig,
                 "networks.*.mode: vlan does not work on host '{}' while br_netfilter is on (set "
                 "net.bridge.bridge-nf-call-iptables and -ip6tables to 0)",
                 config.host);
        }
    }
}

void plug(Links& links, const Port& port, const Bridge& bridge) {
    links.set_mtu(port.outside, bridge.mtu);
    if (port.mode == Mode::kRouted) {
        give_addresses(links, port.outside, bridge, 32);
        set_link_sysctl("ipv4", port.outside, "arp_ignore", "0");
        set_link_sysctl("ipv4", port.outside, "proxy_arp", "1"); // its neighbours are behind us
        set_link_sysctl("ipv4", port.outside, "proxy_delay", "0", "neigh");
        set_link_sysctl("ipv4", port.outside, "rp_filter", "1");
        links.set_group(port.outside, bridge.group());
        links.set_up(port.outside);
        links.ensure_route(port.address.str(), port.outside, bridge.gateway().str());
        if (!port.ipv6.empty()) {
            links.ensure_route(ipv6_address(port.ipv6, port.mac), port.outside,
                               ipv6_gateway(port.ipv6));
        }
        return;
    }
    set_link_sysctl("ipv6", port.outside, "disable_ipv6", "1");
    if (!bridge.switch_name().empty()) {
        links.enslave(port.outside, bridge.switch_name());
    }
    if (port.mode == Mode::kVlan && !bridge.below.empty()) {
        links.set_access_vlan(port.outside, port.id);
    }
    links.set_up(port.outside);
    if (!bridge.uplink.empty()) {
        // It may have been elsewhere: neither this host nor others wait until it speaks.
        links.expect(port.outside, port.mac, bridge.below.empty() ? 0 : port.id);
        announce(links, bridge, port);
    }
}

} // namespace sky::net
