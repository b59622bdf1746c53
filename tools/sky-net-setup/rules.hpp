// SPDX-License-Identifier: MIT
#pragma once

#include <sky-net-setup/plan.hpp>

#include <string>
#include <vector>

namespace sky::net {

/// What the tables `inet PREFIX` and `bridge PREFIX` are made of. Every text in it was validated or
/// made from numbers: render_rules() does not quote.
struct Rules {
    struct Tap {
        std::string name;
        std::string mac;
        Ipv4 address;
    };
    std::string prefix;
    std::vector<uid_t> tenants;
    uid_t machines_first = 0;
    uid_t machines_last = 0;
    std::vector<std::string> egress4;
    std::vector<std::string> egress6;
    std::vector<std::string> cluster4; ///< nobody's who is guarded, whatever egress says
    std::vector<std::string> cluster6;
    std::vector<Subnet> guests;     ///< every network of the configuration
    std::vector<Subnet> masquerade; ///< those that leave with the host's address
    std::vector<std::string> bridges;
    std::vector<Tap> taps;
};

/// Throws Error(kConfig) naming the key.
[[nodiscard]] Rules make_rules(const Config& config, const std::vector<MachineNet>& machines);

/// nft's language: both tables, replaced whole in one transaction.
[[nodiscard]] std::string render_rules(const Rules& rules);

/// Takes both tables away, whether they are there or not.
[[nodiscard]] std::string render_removal(const std::string& prefix);

} // namespace sky::net
