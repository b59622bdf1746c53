// SPDX-License-Identifier: MIT
#pragma once

#include <sky-net-setup/plan.hpp>
#include <sky/fd.hpp>

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

struct nl_sock;
struct rtnl_link;

namespace sky::net {

/// Of the routes that mode `routed` makes, for bird and FRR to know them by: no daemon's in
/// /etc/iproute2/rt_protos.
inline constexpr std::uint8_t kRouteProtocol = 83;

/// Links, addresses and routes of the network namespace in which it was made, by rtnetlink.
/// Every member throws Error(kSystem) with libnl's reason.
class Links {
  public:
    struct Link {
        std::string name;
        std::string mac;
        std::string type; ///< "bridge", "tun", ... or empty
        int index = 0;
        int master = 0;
        std::int64_t mtu = 0;
        bool up = false;
        bool carrier = false; ///< of a tap: somebody has a queue open
    };

    Links();
    Links(const Links&) = delete;
    Links& operator=(const Links&) = delete;
    ~Links();

    [[nodiscard]] std::vector<Link> all();
    [[nodiscard]] std::optional<Link> find(const std::string& name);
    /// Makes it or takes the one that is there (which must be a bridge); address and MTU follow.
    void ensure_bridge(const std::string& name, const std::string& mac, std::int64_t mtu);
    /// Adds an IPv4 or IPv6 address unless it is there. `alone`: without a route to its neighbours.
    void ensure_address(const std::string& name, const std::string& address, std::uint32_t prefix,
                        bool alone = false);
    /// The link that has this address.
    [[nodiscard]] std::optional<Link> with_address(const std::string& address);

    /// A VXLAN that learns what is behind which peer, and sends to `peers` whatever is for many.
    void ensure_vxlan(const std::string& name, const Bridge& bridge);
    /// A bridge that keeps VLANs apart and gives its ports none.
    void ensure_switch(const std::string& name, std::int64_t mtu);
    /// What is for this MAC in this VLAN goes to the switch itself, and nowhere else.
    void keep_for_us(const std::string& name, const std::string& mac, std::int64_t id);
    /// A bridge sends what is for this MAC (in this VLAN, unless 0) to that port of it, whatever it
    /// learnt before, until it learns that it is elsewhere.
    void expect(const std::string& port, const std::string& mac, std::int64_t id);
    /// A link that is VLAN `id` of a switch.
    void ensure_vlan(const std::string& name, const std::string& below, std::int64_t id,
                     const std::string& mac, std::int64_t mtu);
    /// `port` of a switch has this VLAN, untagged and for what comes in without a tag, and no
    /// other.
    void set_access_vlan(const std::string& port, std::int64_t id);
    /// `port` of a switch, or the switch itself, has these VLANs, tagged, and no other.
    void set_trunk_vlans(const std::string& port, const std::set<std::int64_t>& ids, bool self);
    /// A route to one address, protocol kRouteProtocol.
    void ensure_route(const std::string& address, const std::string& link,
                      const std::string& source);
    void set_mtu(const std::string& name, std::int64_t mtu);
    void set_group(const std::string& name, std::uint32_t group);
    void set_up(const std::string& name);
    void enslave(const std::string& name, const std::string& bridge);
    /// Whether a bridge remembers who is behind this port of it.
    void set_learning(const std::string& name, bool on);
    /// Into another namespace under another name.
    void move(const std::string& name, const Fd& netns, const std::string& new_name);
    /// Nothing if there is no such link.
    void remove(const std::string& name);

  private:
    /// Makes it or takes the one that is there; MAC (unless empty) and MTU follow.
    void ensure(const std::string& name, const char* type, const std::string& mac, std::int64_t mtu,
                const std::function<void(rtnl_link*)>& more = {});
    void flood_to(const std::string& name, const std::vector<std::string>& peers);
    void change_vlans(const std::string& port, int command, std::int64_t first, std::int64_t last,
                      unsigned flags, bool self);
    nl_sock* socket_ = nullptr;
};

} // namespace sky::net
