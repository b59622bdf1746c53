// SPDX-License-Identifier: MIT
#pragma once

#include <sky-net-setup/address.hpp>
#include <sky/config.hpp>
#include <sky/name.hpp>
#include <sky/registry.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sky::net {

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

/// One interface as granted: everything that links, rules and dnsmasq need to know of it.
struct Port {
    std::string inside;  ///< the tap's name in the sandbox: sky0
    std::string outside; ///< and on the host: <prefix>t<N>x<K>
    std::string mac;
    Network network;
    Ipv4 address;
    Subnet subnet; ///< the tenant's part of the network
    std::string bridge;
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
/// network or MAC that the registry does not have, Error(kData) for two interfaces on one network.
[[nodiscard]] MachineNet grant(const Request& request, const Registry& registry,
                               const Config& config);

/// A bridge with all that stands on it.
struct Bridge {
    struct Host {
        std::string mac;
        Ipv4 address;
        std::vector<std::string> names;
    };
    std::string name;
    std::string mac; ///< fixed, or it would follow the lowest of its ports
    Subnet subnet;
    std::int64_t mtu = 1500;
    std::vector<std::string> dns; ///< forwarders; empty: the host's resolv.conf
    std::vector<Host> hosts;
};

/// What this host's network shall look like: a pure function of configuration and machines.
/// Everything of our prefix that it does not name is removed.
struct Plan {
    std::vector<Bridge> bridges; ///< by name
    std::vector<MachineNet> machines;
    std::string rules; ///< for nft: replaces both tables in one transaction

    [[nodiscard]] bool has_bridge(std::string_view name) const;
    [[nodiscard]] bool has_tap(std::string_view name) const;
    /// For people and --dry-run.
    [[nodiscard]] std::string describe() const;
};
/// Throws Error(kConfig) for networks or egress entries that are no subnets, or overlap.
[[nodiscard]] Plan make_plan(const Config& config, std::vector<MachineNet> machines);

/// `<prefix>b<N>`: N is the tenant's index on network "default", elsewhere the subnet's address as
/// a number, which no index reaches. At most 15 characters.
[[nodiscard]] std::string bridge_name(const std::string& prefix, const Network& network,
                                      std::uint32_t tenant_index, const Subnet& subnet);
/// `<prefix>t<N>x<K>`.
[[nodiscard]] std::string tap_name(const std::string& prefix, std::uint32_t index, std::size_t k);

enum class LinkKind { kNone, kBridge, kTap };
/// Whether a link's name is one that bridge_name() or tap_name() give out for this prefix.
[[nodiscard]] LinkKind kind_of_link(std::string_view name, std::string_view prefix) noexcept;
/// Whether it could be a bridge of any prefix's.
[[nodiscard]] bool is_any_bridge(std::string_view name) noexcept;

} // namespace sky::net
