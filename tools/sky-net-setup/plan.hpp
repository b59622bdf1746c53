// SPDX-License-Identifier: MIT
#pragma once

#include <sky-net-setup/address.hpp>
#include <sky/config.hpp>
#include <sky/name.hpp>
#include <sky/registry.hpp>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace sky::net {

using Mode = NetworkConfig::Mode;

/// What sky-vm-run asks for, one JSON object on stdin (doc/interfaces.md, "sky-net-setup").
struct Request {
    struct Interface {
        std::string tap; ///< "sky" + its place in the list
        std::string mac;
        Network network;
        unsigned queues = 1;
    };
    MachinePath path;
    std::optional<pid_t> netns; ///< the PID of "/proc/PID/ns/net"
    std::optional<std::vector<Interface>> interfaces;

    /// Strict. Throws Error(kData) naming the key.
    [[nodiscard]] static Request parse(std::string_view json);
};

/// What the way below each network carries on this host, its MTU: read by read_facts(). A network
/// whose uplink or node address is not there has none.
using Facts = std::map<Network, std::int64_t>;

/// One interface as granted: everything that links, rules and dnsmasq need to know of it.
struct Port {
    std::string inside;  ///< the tap's name in the sandbox: sky0
    std::string outside; ///< and on the host: <prefix>t<N>x<K>
    std::string mac;
    Network network;
    Mode mode = Mode::kBridge;
    Ipv4 address;
    Subnet subnet;    ///< the tenant's part of the network
    std::string ipv6; ///< the /64's first address, "fd00:88:0:1::"; empty: no IPv6
    std::string bridge;
    std::int64_t id = 0; ///< VLAN or VNI
    std::int64_t mtu = 1500;
    unsigned queues = 1;
};

/// A machine's interfaces on this host. Kept in STATE/net/machines/T.R.M.json from `up` to `down`,
/// so that cleanup needs neither registry nor manifest.
struct MachineNet {
    MachinePath path;
    std::uint32_t index = 0;
    uid_t owner = 0; ///< may open the taps
    std::vector<Port> ports;

    [[nodiscard]] std::string dump() const;
    /// Strict; `prefix` is the configuration's and must be the one it was written with.
    [[nodiscard]] static MachineNet parse(std::string_view json, const std::string& prefix);
};

/// Joins a request with what the registry gave the machine. Throws Error(kRefused) for a machine,
/// network or MAC that the registry does not have, Error(kData) for two interfaces on one network,
/// Error(kConfig) naming the host for a network that does not fit what lies below it.
[[nodiscard]] MachineNet grant(const Request& request, const Registry& registry,
                               const Config& config, const Facts& facts);

/// A segment as this host sees it: the link that has the gateway's address, and what is below it.
struct Bridge {
    struct Host {
        std::string mac;
        Ipv4 address;
        std::string ipv6; ///< or empty
        std::vector<std::string> names;
    };
    std::string name; ///< a bridge, without ports where `mode` is kRouted; kVlan: one of `below`'s
    Mode mode = Mode::kBridge;
    std::string mac; ///< the same on every host: each is the gateway
    Subnet subnet;
    std::string ipv6; ///< as Port::ipv6
    std::int64_t mtu = 1500;
    bool shared = false;          ///< has machines of several tenants
    bool served = true;           ///< this host has an address there, and serves DHCP and DNS
    std::vector<std::string> dns; ///< forwarders; empty: the host's resolv.conf
    std::vector<Host> hosts;      ///< that are up here
    std::vector<std::string> taps;
    std::int64_t id = 0;            ///< VLAN or VNI
    std::string uplink;             ///< the operator's link, or our VXLAN; or empty
    std::string below;              ///< kVlan: the VLAN-aware bridge, which has the ports
    std::string local;              ///< kVxlan: this node's address
    std::vector<std::string> peers; ///< kVxlan: the other nodes' addresses
    std::int64_t port = 0;          ///< kVxlan: UDP
    /// Names of the tenant's machines elsewhere, as lines of /etc/hosts; nothing: the registry was
    /// not there to be read.
    std::optional<std::vector<std::string>> elsewhere;

    /// The bridge that taps become ports of; empty where there is none.
    [[nodiscard]] const std::string& switch_name() const;
    /// Of its taps, mode `routed`: a number that no link of the operator's has, no two segments'.
    [[nodiscard]] std::uint32_t group() const { return subnet.base.value; }
    [[nodiscard]] Ipv4 gateway() const { return subnet.gateway(); }
};

/// What this host's network shall look like: a pure function of configuration and machines.
/// Everything of our prefix that it does not name is removed.
struct Plan {
    std::vector<Bridge> bridges; ///< by name
    std::vector<MachineNet> machines;
    std::string mark;  ///< by which `base` is known in the kernel: mark_of()
    std::string base;  ///< for nft: what the configuration alone says; replaces our tables
    std::string rules; ///< and the segments: follows `base`, in the same transaction
    std::string prefix;
    /// Chains of each uplink's own, to be put in their place while it is on the host.
    std::map<std::string, std::string> guards;

    [[nodiscard]] const Bridge* find_bridge(std::string_view name) const;
    /// Whether it is a link that the plan makes, but for taps.
    [[nodiscard]] bool has_link(std::string_view name) const;
    [[nodiscard]] std::set<std::string> taps() const;
    /// Chains of those links' own that are among these.
    [[nodiscard]] std::string guards_of(const std::set<std::string>& links) const;
    /// For people and --dry-run.
    [[nodiscard]] std::string describe() const;
};
/// Throws Error(kConfig) for networks or egress entries that are no subnets, or overlap.
/// `registry`: for the names of machines on other hosts; nullptr when it can not be read.
[[nodiscard]] Plan make_plan(const Config& config, std::vector<MachineNet> machines,
                             const Facts& facts = {}, const Registry* registry = nullptr);

/// `<prefix>b<N>`: N is the tenant's index on network "default" unless that is shared, elsewhere
/// the subnet's address as a number, which no index reaches. At most 15 characters.
[[nodiscard]] std::string bridge_name(const std::string& prefix, const Network& network,
                                      std::uint32_t tenant_index, const Subnet& subnet,
                                      bool shared = false);
/// `<prefix>t<N>x<K>`.
[[nodiscard]] std::string tap_name(const std::string& prefix, std::uint32_t index, std::size_t k);
/// `<prefix>x<VNI>`.
[[nodiscard]] std::string vxlan_name(const std::string& prefix, std::int64_t vni);
/// `<prefix>w<N>`, the VLAN-aware bridge of a trunk: N is a hash of its name.
[[nodiscard]] std::string switch_name(const std::string& prefix, std::string_view trunk);

enum class LinkKind { kNone, kBridge, kTap, kVxlan, kSwitch };
/// Whether a link's name is one that the functions above give out for this prefix.
[[nodiscard]] LinkKind kind_of_link(std::string_view name, std::string_view prefix) noexcept;
/// Whether it could be a bridge of any prefix's.
[[nodiscard]] bool is_any_bridge(std::string_view name) noexcept;

} // namespace sky::net
