// SPDX-License-Identifier: MIT
#include <sky/config-networks.hpp>

#include <sky/error.hpp>

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <charconv>
#include <net/if.h>
#include <nlohmann/json.hpp>

namespace sky {
namespace {

using Mode = NetworkConfig::Mode;
constexpr int kCode = static_cast<int>(ExitCode::kConfig);
constexpr std::int64_t kVlanMax = 4094;
constexpr std::int64_t kVniMax = 0xffffff;

int family_of(const std::string& address) {
    std::array<unsigned char, 16> raw{};
    for (const int family : {AF_INET, AF_INET6}) {
        if (::inet_pton(family, address.c_str(), raw.data()) == 1) {
            return family;
        }
    }
    return AF_UNSPEC;
}

/// A network of at least one /64 whose host bits are zero.
bool valid_ipv6(const std::string& cidr) {
    const auto slash = cidr.find('/');
    std::array<unsigned char, 16> raw{};
    unsigned prefix = 0;
    if (slash == std::string::npos ||
        ::inet_pton(AF_INET6, cidr.substr(0, slash).c_str(), raw.data()) != 1) {
        return false;
    }
    const char* last = cidr.data() + cidr.size();
    const auto [end, error] = std::from_chars(cidr.data() + slash + 1, last, prefix);
    if (error != std::errc{} || end != last || prefix < 16 || prefix > 64) {
        return false;
    }
    for (unsigned bit = prefix; bit < 128; ++bit) {
        if ((raw.at(bit / 8) & (0x80U >> bit % 8)) != 0) {
            return false;
        }
    }
    return true;
}

/// A name that the kernel takes for a link, and nftables without quotes.
bool valid_link(const std::string& name) {
    return !name.empty() && name.size() < IFNAMSIZ && name.front() != '.' && name.front() != '-' &&
           std::all_of(name.begin(), name.end(), [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '.' || c == '_' || c == '-';
           });
}

void read_nodes(Fields& top, Config& config) {
    int family = AF_UNSPEC;
    std::set<std::string> seen;
    top.each_member(
        "nodes",
        [&](const std::string& name, const Json& value, const std::string& path) {
            Fields f(value, path, kCode);
            const NodeConfig node{f.string("address")};
            f.done();
            if (!Machine::valid(name)) {
                fail(ExitCode::kConfig, "{}: not the name of a host", path);
            }
            const int its = family_of(node.address);
            if (its == AF_UNSPEC || (family != AF_UNSPEC && its != family)) {
                f.wrong("address", "an IPv4 or an IPv6 address, the same of all nodes");
            }
            family = its;
            if (!seen.insert(node.address).second) {
                fail(ExitCode::kConfig, "{}.address: another node has it", path);
            }
            config.nodes.emplace(name, node);
        },
        true);
}

void read_mode(Fields& f, NetworkConfig& network) {
    const std::string mode = f.optional_string("mode").value_or("bridge");
    if (mode == "vlan") {
        network.mode = Mode::kVlan;
    } else if (mode == "vxlan") {
        network.mode = Mode::kVxlan;
    } else if (mode == "routed") {
        network.mode = Mode::kRouted;
    } else if (mode != "bridge") {
        f.wrong("mode", "\"bridge\", \"vlan\", \"vxlan\" or \"routed\"");
    }
}

/// Names, of tenants that are added later too: one that nobody has opens nothing to anybody, and a
/// tenant who is removed does not make a configuration wrong.
void read_tenants_of(Fields& f, NetworkConfig& network) {
    if (!f.has("tenants")) {
        return;
    }
    network.tenants.emplace();
    f.each("tenants", [&](const Json& value, const std::string& path) {
        const std::string name = value.is_string() ? value.get<std::string>() : "";
        if (!Tenant::valid(name)) {
            fail(ExitCode::kConfig, "{}: expected the name of a tenant", path);
        }
        network.tenants->insert(Tenant::parse(name));
    });
}

/// What only some modes have: without meaning in the others, and refused there.
void read_mode_keys(Fields& f, NetworkConfig& network) {
    const bool vlan = network.mode == Mode::kVlan;
    const bool vxlan = network.mode == Mode::kVxlan;
    if (vlan || vxlan) {
        Fields ids(f.any("ids"), f.path_of("ids"), kCode);
        network.id_first = ids.integer("first", 1, vlan ? kVlanMax : kVniMax);
        network.id_last = ids.integer("last", network.id_first, vlan ? kVlanMax : kVniMax);
        ids.done();
    } else if (f.has("ids")) {
        f.wrong("ids", "mode \"vlan\" or \"vxlan\" beside it");
    }
    if (vxlan) {
        network.port = f.integer_or("port", 1, 65535, network.port);
    } else if (f.has("port")) {
        f.wrong("port", "mode \"vxlan\" beside it");
    }
    if (vlan || f.has("uplink")) {
        network.uplink = f.string("uplink");
        if (!valid_link(network.uplink)) {
            f.wrong("uplink", "the name of a link");
        }
        if (!vlan && !(network.mode == Mode::kBridge && network.shared)) {
            f.wrong("uplink", "mode \"vlan\", or \"bridge\" and shared, beside it");
        }
    }
    const std::string dhcp = f.optional_string("dhcp").value_or("host");
    network.operator_dhcp = dhcp == "operator";
    if (dhcp != "host" && !network.operator_dhcp) {
        f.wrong("dhcp", "\"host\" or \"operator\"");
    }
    if (network.operator_dhcp && network.uplink.empty()) {
        f.wrong("dhcp", "an uplink beside \"operator\"");
    }
}

NetworkConfig read_network(const Json& value, const std::string& path) {
    Fields f(value, path, kCode);
    NetworkConfig network;
    read_mode(f, network);
    network.ipv4 = f.string("ipv4");
    network.ipv6 = f.optional_string("ipv6");
    if (network.ipv6 && !valid_ipv6(*network.ipv6)) {
        f.wrong("ipv6", "an IPv6 network of /16 to /64");
    }
    network.shared = f.boolean_or("shared", network.shared);
    if (network.shared && f.has("tenant_prefix")) {
        f.wrong("tenant_prefix", "nothing where the network is shared");
    }
    if (network.shared && network.mode == Mode::kRouted) {
        f.wrong("shared", "another mode than \"routed\"");
    }
    network.tenant_prefix = f.integer_or("tenant_prefix", 8, 30, network.tenant_prefix);
    if (f.has("mtu")) {
        network.mtu = f.integer("mtu", network.ipv6 ? 1280 : 576, 65521);
    }
    network.masquerade = f.boolean_or("masquerade", network.masquerade);
    f.each(
        "dns",
        [&](const Json& server, const std::string& at) {
            if (!server.is_string()) {
                fail(ExitCode::kConfig, "{}: expected a string", at);
            }
            network.dns.push_back(server.get<std::string>());
        },
        true);
    read_tenants_of(f, network);
    read_mode_keys(f, network);
    f.done();
    return network;
}

/// Two networks never give out the same VLAN of a trunk, nor the same VNI.
void check_ids(const Config& config) {
    for (const auto& [name, one] : config.networks) {
        if (one.mode == Mode::kVxlan && !config.nodes.contains(config.host)) {
            fail(ExitCode::kConfig, "networks.{}.mode: vxlan needs '{}' in nodes", name.str(),
                 config.host);
        }
        for (const auto& [other_name, other] : config.networks) {
            if (!(name < other_name)) {
                continue;
            }
            if (one.mode == other.mode && one.uplink == other.uplink && one.id_last != 0 &&
                one.id_first <= other.id_last && other.id_first <= one.id_last) {
                fail(ExitCode::kConfig, "networks.{}.ids: overlap with those of '{}'",
                     other_name.str(), name.str());
            }
            if (!one.uplink.empty() && one.uplink == other.uplink &&
                (one.mode != Mode::kVlan || other.mode != Mode::kVlan)) {
                fail(ExitCode::kConfig, "networks.{}.uplink: '{}' has it", other_name.str(),
                     name.str());
            }
        }
    }
}

} // namespace

bool NetworkConfig::open_to(const Tenant& tenant) const {
    return !tenants || tenants->contains(tenant);
}

void read_networks(Fields& top, Config& config) {
    read_nodes(top, config);
    top.each_member(
        "networks",
        [&](const std::string& name, const Json& value, const std::string& path) {
            if (!Network::valid(name)) {
                fail(ExitCode::kConfig, "{}: not a name (use a-z 0-9 -, start with a letter)",
                     path);
            }
            config.networks.emplace(Network::parse(name), read_network(value, path));
        },
        true);
    check_ids(config);
}

} // namespace sky
