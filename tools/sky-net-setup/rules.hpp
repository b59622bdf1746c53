// SPDX-License-Identifier: MIT
#pragma once

#include <sky-net-setup/plan.hpp>

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sky::net {

/// What the tables `inet PREFIX` and `netdev PREFIX` are made of, without segments and ports. Every
/// text in it was validated or made from numbers: nothing is quoted.
struct Rules {
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
};

/// Throws Error(kConfig) naming the key.
[[nodiscard]] Rules make_rules(const Config& config);

/// nft's language: both tables, replaced whole in one transaction, without a segment or a port. An
/// empty chain's name, mark_of(), tells whether these are what the kernel has.
[[nodiscard]] std::string render_rules(const Rules& rules);
[[nodiscard]] std::string mark_of(const std::string& rules);

/// What a segment adds to them, there already or not; and takes away, there or not.
[[nodiscard]] std::string render_segment(const std::string& prefix, const Bridge& bridge);
[[nodiscard]] std::string render_no_segment(const std::string& prefix, const Bridge& bridge);

/// The chain of a tap's own, in place of what is in it. The tap must be on the host: before it is
/// up or a port of anything.
[[nodiscard]] std::string render_guard(const std::string& prefix, const Port& port);
/// Both chains of an uplink that this host is a gateway behind.
[[nodiscard]] std::string render_uplink(const std::string& prefix, const std::string& uplink);
[[nodiscard]] std::string render_no_uplink(const std::string& prefix, const std::string& uplink);

/// Takes the tables away, whether they are there or not.
[[nodiscard]] std::string render_removal(const std::string& prefix);

} // namespace sky::net
