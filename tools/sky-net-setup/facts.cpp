// SPDX-License-Identifier: MIT
#include <sky-net-setup/facts.hpp>

#include <sky-net-setup/link.hpp>
#include <sky-net-setup/segment.hpp>

namespace sky::net {

Facts read_facts(const Config& config) {
    Facts facts;
    Links links;
    for (const auto& [name, network] : config.networks) {
        if (network.mode == Mode::kVxlan) {
            const auto node = config.nodes.find(config.host);
            const auto link = node == config.nodes.end() ? std::nullopt
                                                         : links.with_address(node->second.address);
            if (link) {
                const bool four = family_of(node->second.address) == 4;
                facts[name] = link->mtu - (four ? kVxlanOver4 : kVxlanOver6);
            }
        } else if (!network.uplink.empty()) {
            if (const auto link = links.find(network.uplink)) {
                facts[name] = link->mtu;
            }
        }
    }
    return facts;
}

} // namespace sky::net
