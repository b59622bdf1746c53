// SPDX-License-Identifier: MIT
#include <sky-net-setup/plan.hpp>
#include <sky-net-setup/segment.hpp>
#include <sky/error.hpp>
#include <sky/json.hpp>

#include <nlohmann/json.hpp>

#include <charconv>
#include <set>

namespace sky::net {
namespace {

constexpr std::size_t kRequestCap = 64 * 1024;
constexpr std::int64_t kQueuesMost = 256;

MachinePath path_of(Fields& f) {
    return {Tenant::parse(f.string("tenant")), Repo::parse(f.string("repo")),
            Machine::parse(f.string("machine"))};
}

std::string mac_of(Fields& f) {
    std::string mac = f.string("mac");
    if (!valid_mac(mac)) {
        f.wrong("mac", "six lower-case hex bytes joined by colons");
    }
    return mac;
}

pid_t pid_of_netns(Fields& f) {
    const std::string text = f.string("netns");
    constexpr std::string_view kHead = "/proc/";
    constexpr std::string_view kTail = "/ns/net";
    pid_t pid = 0;
    if (text.size() > kHead.size() + kTail.size() && text.starts_with(kHead) &&
        text.ends_with(kTail)) {
        const char* first = text.data() + kHead.size();
        const char* last = text.data() + text.size() - kTail.size();
        const auto [end, error] = std::from_chars(first, last, pid);
        if (error == std::errc{} && end == last && *first != '0' && pid > 0) {
            return pid;
        }
    }
    f.wrong("netns", "\"/proc/PID/ns/net\"");
}

Request::Interface interface_of(const Json& value, const std::string& path, std::size_t k) {
    Fields f(value, path);
    Request::Interface result{f.string("tap"), mac_of(f), Network::parse(f.string("network")),
                              static_cast<unsigned>(f.integer("queues", 1, kQueuesMost))};
    f.done();
    if (result.tap != fmt::format("sky{}", k)) {
        f.wrong("tap", fmt::format("\"sky{}\"", k));
    }
    return result;
}

/// All of it but the name outside.
Port port_of(Fields& p) {
    const auto mode = mode_of(p.optional_string("mode").value_or("bridge"));
    if (!mode) {
        p.wrong("mode", "a network's mode");
    }
    const std::string ipv6 = p.optional_string("ipv6").value_or("");
    if (!ipv6.empty() && family_of(ipv6) != 6) {
        p.wrong("ipv6", "an IPv6 address");
    }
    return {.inside = p.string("tap"),
            .outside = "",
            .mac = mac_of(p),
            .network = Network::parse(p.string("network")),
            .mode = *mode,
            .address = Ipv4::parse(p.string("address")),
            .subnet = Subnet::parse(p.string("subnet")),
            .ipv6 = ipv6,
            .bridge = p.string("bridge"),
            .id = p.integer_or("id", 0, 0xffffff, 0),
            .mtu = p.integer("mtu", 576, 65521),
            .queues = static_cast<unsigned>(p.integer("queues", 1, kQueuesMost))};
}

} // namespace

Request Request::parse(std::string_view json) {
    const Json value = parse_json(json, kRequestCap, "request");
    Fields f(value, "request");
    static_cast<void>(f.integer("v", 1, 1));
    Request request{path_of(f), std::nullopt, std::nullopt};
    if (f.has("netns")) {
        request.netns = pid_of_netns(f);
    }
    if (f.has("interfaces")) {
        request.interfaces.emplace();
        f.each("interfaces", [&](const Json& element, const std::string& at) {
            request.interfaces->push_back(interface_of(element, at, request.interfaces->size()));
        });
        if (request.interfaces->size() > kMacsPerMachine) {
            f.wrong("interfaces", fmt::format("at most {}", kMacsPerMachine));
        }
    }
    f.done();
    return request;
}

std::string MachineNet::dump() const {
    Json list = Json::array();
    for (const Port& p : ports) {
        list.push_back({{"tap", p.inside},
                        {"mac", p.mac},
                        {"network", p.network.str()},
                        {"mode", mode_text(p.mode)},
                        {"address", p.address.str()},
                        {"subnet", p.subnet.str()},
                        {"ipv6", p.ipv6},
                        {"bridge", p.bridge},
                        {"id", p.id},
                        {"mtu", p.mtu},
                        {"queues", p.queues}});
    }
    return dump_json({{"v", 1},
                      {"tenant", path.tenant.str()},
                      {"repo", path.repo.str()},
                      {"machine", path.machine.str()},
                      {"index", index},
                      {"uid", owner},
                      {"interfaces", list}});
}

MachineNet MachineNet::parse(std::string_view json, const std::string& prefix) {
    const Json value = parse_json(json, kRequestCap, "machine");
    Fields f(value, "machine");
    static_cast<void>(f.integer("v", 1, 1));
    MachineNet machine{path_of(f),
                       static_cast<std::uint32_t>(f.integer("index", 1, kMachineIndexMax)),
                       static_cast<uid_t>(f.integer("uid", 1, 0x7ffffffe)),
                       {}};
    f.each("interfaces", [&](const Json& element, const std::string& at) {
        Fields p(element, at);
        Port port = port_of(p);
        port.outside = tap_name(prefix, machine.index, machine.ports.size());
        p.done();
        if (kind_of_link(port.bridge, prefix) != LinkKind::kBridge) {
            p.wrong("bridge", "a bridge of the configuration's prefix");
        }
        machine.ports.push_back(std::move(port));
    });
    f.done();
    return machine;
}

namespace {

struct Given {
    const Registry::Machine& machine;
    const Registry::TenantEntry& tenant;
    const NetworkConfig& network;
};

Port port_for(const Request::Interface& wanted, const Given& given, const Config& config,
              const Facts& facts) {
    const Network& name = wanted.network;
    const Subnet range = Subnet::parse(given.tenant.networks.at(name.str()));
    const Ipv4 ip = Ipv4::parse(given.machine.addresses.at(name.str()));
    if (!range.contains(ip) || ip <= range.gateway()) {
        fail(ExitCode::kData, "registry: address '{}' is not in '{}'", ip.str(), range.str());
    }
    const std::uint32_t index = given.tenant.index;
    const auto k = static_cast<std::size_t>(std::stoul(wanted.tap.substr(3)));
    return {.inside = wanted.tap,
            .outside = tap_name(config.prefix, given.machine.index, k),
            .mac = wanted.mac,
            .network = name,
            .mode = given.network.mode,
            .address = ip,
            .subnet = range,
            .ipv6 = segment_ipv6(name, given.network, index),
            .bridge = bridge_name(config.prefix, name, index, range, given.network.shared),
            .id = segment_id(name, given.network, index),
            .mtu = segment_mtu(name, config, facts),
            .queues = wanted.queues};
}

/// A subnet is one tenant's, unless the network is shared.
void check_subnet(const Registry& registry, const Tenant& tenant, const std::string& network) {
    const std::string& ours = registry.tenants.at(tenant.str()).networks.at(network);
    for (const auto& [name, entry] : registry.tenants) {
        const auto theirs = entry.networks.find(network);
        if (name != tenant.str() && theirs != entry.networks.end() && theirs->second == ours) {
            fail(ExitCode::kData, "registry: '{}' has the subnet of '{}' too", name, tenant.str());
        }
    }
}

} // namespace

MachineNet grant(const Request& request, const Registry& registry, const Config& config,
                 const Facts& facts) {
    const auto* entry = registry.find(request.path);
    const auto tenant = registry.tenants.find(request.path.tenant.str());
    if (entry == nullptr || tenant == registry.tenants.end()) {
        fail(ExitCode::kRefused, "no machine '{}' in the registry", request.path.text());
    }
    MachineNet machine{request.path, entry->index, machine_uid(*entry, MachineUid::kRunner), {}};
    std::set<std::string> seen;
    for (const auto& wanted : request.interfaces.value()) {
        const std::string& net = wanted.network.str();
        const auto k = static_cast<std::uint32_t>(machine.ports.size());
        const auto address = entry->addresses.find(net);
        const auto subnet = tenant->second.networks.find(net);
        const auto network = config.networks.find(wanted.network);
        if (network == config.networks.end() || !network->second.open_to(request.path.tenant) ||
            address == entry->addresses.end() || subnet == tenant->second.networks.end()) {
            fail(ExitCode::kRefused, "no network '{}' for '{}'", net, request.path.text());
        }
        if (wanted.mac != machine_mac(entry->index, k)) {
            fail(ExitCode::kRefused, "{}: MAC '{}' is not this machine's (it is {})", wanted.tap,
                 wanted.mac, machine_mac(entry->index, k));
        }
        if (!seen.insert(net).second) {
            fail(ExitCode::kData, "{}: a second interface on network '{}' (one address each)",
                 wanted.tap, net);
        }
        if (!network->second.shared) {
            check_subnet(registry, request.path.tenant, net);
        }
        machine.ports.push_back(
            port_for(wanted, {*entry, tenant->second, network->second}, config, facts));
    }
    return machine;
}

} // namespace sky::net
