// SPDX-License-Identifier: MIT
#pragma once

#include <sky-net-setup/plan.hpp>

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sky::net {

/// What the tables `inet PREFIX`, `bridge PREFIX` and `arp PREFIX` are made of. Every text in it
/// was validated or made from numbers: render_rules() does not quote.
struct Rules {
    struct Tap {
        std::string name;
        std::string mac;
        Ipv4 address;
        std::vector<std::string> ipv6;     ///< link-local and global; none: it may not use IPv6
        std::vector<std::string> gateway;  ///< of a routed one: where it may ask for names, IPv4
        std::vector<std::string> gateway6; ///< and IPv6
    };
    std::string prefix;
    std::vector<uid_t> tenants;                   ///< those outside of `added`
    std::optional<std::pair<uid_t, uid_t>> added; ///< first and last of `tenant_uids`
    bool storage_clients = false; ///< machines' storage processes reach their storage
    uid_t machines_first = 0;
    uid_t machines_last = 0;
    std::vector<std::string> egress4;
    std::vector<std::string> egress6;
    std::vector<std::string> cluster4; ///< nobody's who is guarded, whatever egress says
    std::vector<std::string> cluster6;
    std::vector<std::string> nodes4; ///< whose VXLANs are taken
    std::vector<std::string> nodes6;
    std::vector<std::string> vxlan_ports;
    std::vector<Subnet> guests;     ///< every network of the configuration
    std::vector<Subnet> masquerade; ///< those that leave with the host's address
    std::vector<std::string> guests6;
    std::vector<std::string> masquerade6;
    std::vector<Subnet> routed; ///< segments whose machines find each other by routes
    std::vector<std::string> routed6;
    std::vector<std::string> bridges;
    std::vector<std::string> uplinks; ///< of segments that this host is a gateway of
    std::vector<Tap> taps;            ///< ports of a bridge
    std::vector<Tap> routed_taps;
};

/// Throws Error(kConfig) naming the key.
[[nodiscard]] Rules make_rules(const Config& config, const std::vector<MachineNet>& machines,
                               const std::vector<Bridge>& bridges);

/// nft's language: all tables, replaced whole in one transaction.
[[nodiscard]] std::string render_rules(const Rules& rules);

/// Takes the tables away, whether they are there or not.
[[nodiscard]] std::string render_removal(const std::string& prefix);

} // namespace sky::net
