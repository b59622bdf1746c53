// SPDX-License-Identifier: MIT
// Links: VXLANs, VLANs and routes.
#include <sky-net-setup/link.hpp>
#include <sky-net-setup/netlink.hpp>

#include <algorithm>
#include <linux/if_bridge.h>
#include <linux/if_ether.h>
#include <linux/neighbour.h>
#include <netlink/route/link/vlan.h>
#include <netlink/route/link/vxlan.h>
#include <netlink/route/neighbour.h>
#include <netlink/route/route.h>

namespace sky::net {

using namespace nl;

namespace {

using NeighPtr = std::unique_ptr<rtnl_neigh, Freed<rtnl_neigh_put>>;
using RoutePtr = std::unique_ptr<rtnl_route, Freed<rtnl_route_put>>;
constexpr std::int64_t kVlanMax = 4094;

/// The entry of a VXLAN's table for frames to many and to whom it does not know: one per peer.
NeighPtr flood_entry(int link, nl_addr* peer) {
    NeighPtr entry = made(NeighPtr(rtnl_neigh_alloc()));
    check(rtnl_neigh_set_dst(entry.get(), peer), "set", "a VXLAN's peer");
    rtnl_neigh_set_family(entry.get(),
                          AF_BRIDGE); // after the address, whose family it would ask for
    rtnl_neigh_set_ifindex(entry.get(), link);
    rtnl_neigh_set_lladdr(entry.get(), address_of("00:00:00:00:00:00", AF_LLC).get());
    rtnl_neigh_set_state(entry.get(), NUD_NOARP | NUD_PERMANENT);
    rtnl_neigh_set_flags(entry.get(), NTF_SELF);
    return entry;
}

bool is_flood_entry(rtnl_neigh* entry, int link) {
    const nl_addr* mac = rtnl_neigh_get_lladdr(entry);
    return rtnl_neigh_get_ifindex(entry) == link && rtnl_neigh_get_dst(entry) != nullptr &&
           mac != nullptr && nl_addr_iszero(mac) != 0;
}

} // namespace

void Links::ensure_vxlan(const std::string& name, const Bridge& bridge) {
    const AddrPtr local = address_of(bridge.local);
    if (const LinkPtr there = get(socket_, name)) { // what can not be changed: made anew
        nl_addr* raw = nullptr;
        std::uint32_t port = 0;
        const bool same = rtnl_link_is_vxlan(there.get()) != 0 &&
                          rtnl_link_vxlan_get_local(there.get(), &raw) == 0 &&
                          rtnl_link_vxlan_get_port(there.get(), &port) == 0 &&
                          port == static_cast<std::uint32_t>(bridge.port);
        const AddrPtr owned(raw);
        if (!same || !same_address(raw, local.get())) {
            remove(name);
        }
    }
    ensure(name, "vxlan", "", bridge.mtu, [&](rtnl_link* link) {
        check(rtnl_link_vxlan_set_id(link, static_cast<std::uint32_t>(bridge.id)), "make", name);
        check(rtnl_link_vxlan_set_local(link, local.get()), "make", name);
        check(rtnl_link_vxlan_set_port(link, static_cast<std::uint32_t>(bridge.port)), "make",
              name);
        check(rtnl_link_vxlan_set_learning(link, 1), "make", name);
    });
    flood_to(name, bridge.peers);
}

void Links::flood_to(const std::string& name, const std::vector<std::string>& peers) {
    const int link = rtnl_link_get_ifindex(need(socket_, name).get());
    std::vector<AddrPtr> missing;
    missing.reserve(peers.size());
    for (const std::string& peer : peers) {
        missing.push_back(address_of(peer));
    }
    nl_cache* raw = nullptr;
    check(nl_cache_alloc_name("route/neigh", &raw), "list", "neighbours");
    const CachePtr cache(raw);
    ifinfomsg head{}; // of this link alone: libnl would ask for all bridges'
    head.ifi_family = AF_BRIDGE;
    head.ifi_index = link;
    check(nl_send_simple(socket_, RTM_GETNEIGH, NLM_F_DUMP, &head, sizeof head),
          "list the peers of", name);
    check(nl_cache_pickup(socket_, raw), "list the peers of", name);
    for (nl_object* object = nl_cache_get_first(raw); object != nullptr;
         object = nl_cache_get_next(object)) {
        auto* entry = reinterpret_cast<rtnl_neigh*>(object);
        if (!is_flood_entry(entry, link)) {
            continue;
        }
        nl_addr* peer = rtnl_neigh_get_dst(entry);
        const auto at = std::find_if(missing.begin(), missing.end(), [&](const AddrPtr& one) {
            return same_address(one.get(), peer);
        });
        if (at != missing.end()) {
            missing.erase(at);
            continue;
        }
        check(rtnl_neigh_delete(socket_, flood_entry(link, peer).get(), 0), "drop a peer of", name);
    }
    for (const AddrPtr& peer : missing) {
        check(rtnl_neigh_add(socket_, flood_entry(link, peer.get()).get(),
                             NLM_F_CREATE | NLM_F_APPEND),
              "add a peer to", name);
    }
}

void Links::ensure_switch(const std::string& name, std::int64_t mtu) {
    ensure(name, "bridge", "", mtu);
    // libnl has no words for these two.
    MessagePtr message =
        made(MessagePtr(nlmsg_alloc_simple(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK)));
    ifinfomsg head{};
    head.ifi_index = rtnl_link_get_ifindex(need(socket_, name).get());
    check(nlmsg_append(message.get(), &head, sizeof head, NLMSG_ALIGNTO), "configure", name);
    nlattr* info = nla_nest_start(message.get(), IFLA_LINKINFO);
    check(nla_put_string(message.get(), IFLA_INFO_KIND, "bridge"), "configure", name);
    nlattr* data = nla_nest_start(message.get(), IFLA_INFO_DATA);
    check(nla_put_u16(message.get(), IFLA_BR_VLAN_DEFAULT_PVID, 0), "configure", name);
    check(nla_put_u8(message.get(), IFLA_BR_VLAN_FILTERING, 1), "configure", name);
    nla_nest_end(message.get(), data);
    nla_nest_end(message.get(), info);
    check(nl_send_sync(socket_, message.release()), "have VLANs on", name);
}

void Links::keep_for_us(const std::string& name, const std::string& mac, std::int64_t id) {
    const NeighPtr entry = made(NeighPtr(rtnl_neigh_alloc()));
    rtnl_neigh_set_family(entry.get(), AF_BRIDGE);
    rtnl_neigh_set_ifindex(entry.get(), rtnl_link_get_ifindex(need(socket_, name).get()));
    rtnl_neigh_set_lladdr(entry.get(), address_of(mac, AF_LLC).get());
    rtnl_neigh_set_vlan(entry.get(), static_cast<int>(id));
    rtnl_neigh_set_state(entry.get(), NUD_PERMANENT);
    rtnl_neigh_set_flags(entry.get(), NTF_SELF);
    check(rtnl_neigh_add(socket_, entry.get(), NLM_F_CREATE | NLM_F_REPLACE), "give a MAC to",
          name);
}

void Links::expect(const std::string& port, const std::string& mac, std::int64_t id) {
    const NeighPtr entry = made(NeighPtr(rtnl_neigh_alloc()));
    rtnl_neigh_set_family(entry.get(), AF_BRIDGE);
    rtnl_neigh_set_ifindex(entry.get(), rtnl_link_get_ifindex(need(socket_, port).get()));
    rtnl_neigh_set_lladdr(entry.get(), address_of(mac, AF_LLC).get());
    if (id != 0) {
        rtnl_neigh_set_vlan(entry.get(), static_cast<int>(id));
    }
    rtnl_neigh_set_state(entry.get(), NUD_NOARP); // a port that does not forward yet takes no other
    rtnl_neigh_set_flags(entry.get(), NTF_MASTER);
    check(rtnl_neigh_add(socket_, entry.get(), NLM_F_CREATE | NLM_F_REPLACE), "tell who is behind",
          port);
}

void Links::ensure_vlan(const std::string& name, const std::string& below, std::int64_t id,
                        const std::string& mac, std::int64_t mtu) {
    const int index = rtnl_link_get_ifindex(need(socket_, below).get());
    if (const LinkPtr there = get(socket_, name);
        there && rtnl_link_is_vlan(there.get()) != 0 &&
        (rtnl_link_get_link(there.get()) != index || rtnl_link_vlan_get_id(there.get()) != id)) {
        remove(name);
    }
    ensure(name, "vlan", mac, mtu, [&](rtnl_link* link) {
        rtnl_link_set_link(link, index);
        check(rtnl_link_vlan_set_id(link, static_cast<std::uint16_t>(id)), "make", name);
    });
}

void Links::change_vlans(const std::string& port, int command, std::int64_t first,
                         std::int64_t last, unsigned flags, bool self) {
    if (first > last) {
        return;
    }
    MessagePtr message = made(MessagePtr(nlmsg_alloc_simple(command, NLM_F_REQUEST | NLM_F_ACK)));
    ifinfomsg head{};
    head.ifi_family = AF_BRIDGE;
    head.ifi_index = rtnl_link_get_ifindex(need(socket_, port).get());
    check(nlmsg_append(message.get(), &head, sizeof head, NLMSG_ALIGNTO), "set VLANs of", port);
    nlattr* spec = nla_nest_start(message.get(), IFLA_AF_SPEC);
    if (self) {
        check(nla_put_u16(message.get(), IFLA_BRIDGE_FLAGS, BRIDGE_FLAGS_SELF), "set VLANs of",
              port);
    }
    const auto put = [&](std::int64_t id, unsigned more) {
        const bridge_vlan_info info{static_cast<std::uint16_t>(flags | more),
                                    static_cast<std::uint16_t>(id)};
        check(nla_put(message.get(), IFLA_BRIDGE_VLAN_INFO, sizeof info, &info), "set VLANs of",
              port);
    };
    if (first == last) {
        put(first, 0);
    } else {
        put(first, BRIDGE_VLAN_INFO_RANGE_BEGIN);
        put(last, BRIDGE_VLAN_INFO_RANGE_END);
    }
    nla_nest_end(message.get(), spec);
    check(nl_send_sync(socket_, message.release()), "set VLANs of", port);
}

void Links::set_access_vlan(const std::string& port, std::int64_t id) {
    change_vlans(port, RTM_DELLINK, 1, id - 1, 0, false);
    change_vlans(port, RTM_DELLINK, id + 1, kVlanMax, 0, false);
    change_vlans(port, RTM_SETLINK, id, id, BRIDGE_VLAN_INFO_PVID | BRIDGE_VLAN_INFO_UNTAGGED,
                 false);
}

void Links::set_trunk_vlans(const std::string& port, const std::set<std::int64_t>& ids, bool self) {
    std::int64_t next = 1;
    for (const std::int64_t id : ids) {
        change_vlans(port, RTM_DELLINK, next, id - 1, 0, self);
        change_vlans(port, RTM_SETLINK, id, id, 0, self);
        next = id + 1;
    }
    change_vlans(port, RTM_DELLINK, next, kVlanMax, 0, self);
}

void Links::set_learning(const std::string& name, bool on) {
    MessagePtr message =
        made(MessagePtr(nlmsg_alloc_simple(RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK)));
    ifinfomsg head{};
    head.ifi_family = AF_BRIDGE;
    head.ifi_index = rtnl_link_get_ifindex(need(socket_, name).get());
    check(nlmsg_append(message.get(), &head, sizeof head, NLMSG_ALIGNTO), "configure", name);
    nlattr* info = nla_nest_start(message.get(), IFLA_PROTINFO | NLA_F_NESTED);
    check(nla_put_u8(message.get(), IFLA_BRPORT_LEARNING, on ? 1 : 0), "configure", name);
    nla_nest_end(message.get(), info);
    check(nl_send_sync(socket_, message.release()), "configure", name);
}

void Links::ensure_route(const std::string& address, const std::string& link,
                         const std::string& source) {
    const AddrPtr to = address_of(address);
    const RoutePtr route = made(RoutePtr(rtnl_route_alloc()));
    rtnl_route_set_family(route.get(), static_cast<std::uint8_t>(nl_addr_get_family(to.get())));
    check(rtnl_route_set_dst(route.get(), to.get()), "route to", address);
    rtnl_route_set_table(route.get(), RT_TABLE_MAIN);
    rtnl_route_set_scope(route.get(), RT_SCOPE_LINK);
    rtnl_route_set_protocol(route.get(), kRouteProtocol);
    if (!source.empty()) {
        check(rtnl_route_set_pref_src(route.get(), address_of(source).get()), "route to", address);
    }
    rtnl_nexthop* hop = made(rtnl_route_nh_alloc());
    rtnl_route_nh_set_ifindex(hop, rtnl_link_get_ifindex(need(socket_, link).get()));
    rtnl_route_add_nexthop(route.get(), hop); // it owns it from here on
    check(rtnl_route_add(socket_, route.get(), NLM_F_CREATE | NLM_F_REPLACE), "route to", address);
}

} // namespace sky::net
