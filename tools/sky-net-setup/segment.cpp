// SPDX-License-Identifier: MIT
#include <sky-net-setup/segment.hpp>

#include <sky/error.hpp>

#include <algorithm>
#include <array>
#include <fmt/ranges.h>
#include <utility>

namespace sky::net {
namespace {

constexpr std::array<std::pair<Mode, std::string_view>, 4> kModes{{{Mode::kBridge, "bridge"},
                                                                   {Mode::kVlan, "vlan"},
                                                                   {Mode::kVxlan, "vxlan"},
                                                                   {Mode::kRouted, "routed"}}};
constexpr std::int64_t kUsualMtu = 1500;

/// Locally administered, and of this gateway alone.
std::string gateway_mac(Ipv4 gateway) {
    const std::uint32_t ip = gateway.value;
    return fmt::format("02:5e:{:02x}:{:02x}:{:02x}:{:02x}", ip >> 24U, ip >> 16U & 255U,
                       ip >> 8U & 255U, ip & 255U);
}

} // namespace

std::string_view mode_text(Mode mode) noexcept {
    const auto* at = std::find_if(kModes.begin(), kModes.end(),
                                  [&](const auto& entry) { return entry.first == mode; });
    return at->second;
}

std::optional<Mode> mode_of(std::string_view text) noexcept {
    const auto* at = std::find_if(kModes.begin(), kModes.end(),
                                  [&](const auto& entry) { return entry.second == text; });
    return at == kModes.end() ? std::nullopt : std::optional(at->first);
}

std::int64_t segment_id(const Network& name, const NetworkConfig& network,
                        std::uint32_t tenant_index) {
    if (network.id_last == 0) {
        return 0;
    }
    const std::int64_t id = network.shared ? network.id_first : network.id_first + tenant_index - 1;
    if (id > network.id_last) {
        fail(ExitCode::kRefused, "no {} left in network '{}': {} to {} are taken (widen its ids)",
             network.mode == Mode::kVlan ? "VLAN" : "VNI", name.str(), network.id_first,
             network.id_last);
    }
    return id;
}

std::string segment_ipv6(const Network& name, const NetworkConfig& network,
                         std::uint32_t tenant_index) {
    if (!network.ipv6) {
        return "";
    }
    const auto subnet = ipv6_subnet(*network.ipv6, network.shared ? 0 : tenant_index);
    if (!subnet) {
        fail(ExitCode::kRefused, "no /64 left in network '{}' (widen networks.{}.ipv6)", name.str(),
             name.str());
    }
    return *subnet;
}

std::int64_t segment_mtu(const Network& name, const Config& config, const Facts& facts) {
    const NetworkConfig& network = config.networks.at(name);
    if (network.mode != Mode::kVxlan && network.uplink.empty()) {
        return network.mtu.value_or(kUsualMtu);
    }
    const auto carried = facts.find(name);
    if (carried == facts.end()) {
        fail(ExitCode::kConfig, "networks.{}: host '{}' has no link {}", name.str(), config.host,
             network.uplink.empty() ? "with its address in nodes" : "'" + network.uplink + "'");
    }
    if (network.mtu && *network.mtu > carried->second) {
        fail(ExitCode::kConfig,
             "networks.{}.mtu: {} is more than host '{}' carries: {} (lower it, or raise that of "
             "the link below)",
             name.str(), *network.mtu, config.host, carried->second);
    }
    return network.mtu.value_or(carried->second);
}

Bridge segment_of(const Port& port, const Config& config, const Facts& facts) {
    Bridge bridge;
    bridge.name = port.bridge;
    bridge.mode = port.mode;
    bridge.mac = gateway_mac(port.subnet.gateway());
    bridge.subnet = port.subnet;
    bridge.ipv6 = port.ipv6;
    bridge.mtu = port.mtu;
    bridge.id = port.id;
    const auto found = config.networks.find(port.network);
    if (found == config.networks.end() || found->second.mode != port.mode) {
        return bridge; // the configuration changed: as it was, without a way out
    }
    const NetworkConfig& network = found->second;
    bridge.dns = network.dns;
    bridge.served = !network.operator_dhcp;
    bridge.shared = network.shared;
    bridge.uplink = network.uplink;
    const bool own = port.mode != Mode::kVxlan && network.uplink.empty();
    if (const auto carried = facts.find(port.network); own || carried != facts.end()) {
        const std::int64_t most = own ? 65521 : carried->second;
        bridge.mtu = std::min(network.mtu.value_or(own ? kUsualMtu : most), most);
    }
    if (port.mode == Mode::kVlan) {
        bridge.below = switch_name(config.prefix, network.uplink);
    }
    if (port.mode == Mode::kVxlan) {
        bridge.uplink = vxlan_name(config.prefix, port.id);
        bridge.port = network.port;
        for (const auto& [host, node] : config.nodes) {
            if (host == config.host) {
                bridge.local = node.address;
            } else {
                bridge.peers.push_back(node.address);
            }
        }
    }
    return bridge;
}

Names::Names(const Bridge& bridge, const Network& network, const std::vector<MachineNet>& machines,
             const Registry* registry)
    : shared_(bridge.shared) {
    std::set<std::string> here;
    std::optional<Tenant> tenant;
    for (const MachineNet& m : machines) {
        for (const Port& p : m.ports) {
            if (p.bridge == bridge.name) {
                here.insert(m.path.joined());
                tenant = m.path.tenant;
            }
        }
    }
    if (bridge.mode == Mode::kBridge || registry == nullptr) {
        for (const std::string& joined : here) {
            ++uses_[MachinePath::parse_joined(joined).machine.str()];
        }
        if (bridge.mode == Mode::kBridge) {
            elsewhere_.emplace();
        }
        return;
    }
    std::map<std::string, std::string> others;
    for (const auto& [joined, machine] : registry->machines) {
        const auto path = MachinePath::parse_joined(joined);
        const auto address = machine.addresses.find(network.str());
        if (address != machine.addresses.end() && (shared_ || path.tenant == tenant)) {
            ++uses_[path.machine.str()];
            if (!here.contains(joined)) {
                others.emplace(joined, Ipv4::parse(address->second).str());
            }
        }
    }
    elsewhere_.emplace();
    for (const auto& [joined, address] : others) {
        elsewhere_->push_back(
            fmt::format("{} {}", address, fmt::join(of(MachinePath::parse_joined(joined)), " ")));
    }
}

std::vector<std::string> Names::of(const MachinePath& path) const {
    std::string name = path.machine.str() + "." + path.repo.str();
    if (shared_) {
        return {name + "." + path.tenant.str()}; // nobody takes another's
    }
    const auto uses = uses_.find(path.machine.str());
    if (uses != uses_.end() && uses->second == 1) {
        return {name, path.machine.str()};
    }
    return {name};
}

} // namespace sky::net
