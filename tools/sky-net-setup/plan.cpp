// SPDX-License-Identifier: MIT
#include <sky-net-setup/plan.hpp>
#include <sky-net-setup/rules.hpp>
#include <sky/error.hpp>
#include <sky/json.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <map>
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
                        {"address", p.address.str()},
                        {"subnet", p.subnet.str()},
                        {"bridge", p.bridge},
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
        Port port{p.string("tap"),
                  tap_name(prefix, machine.index, machine.ports.size()),
                  mac_of(p),
                  Network::parse(p.string("network")),
                  Ipv4::parse(p.string("address")),
                  Subnet::parse(p.string("subnet")),
                  p.string("bridge"),
                  p.integer("mtu", 576, 65521),
                  static_cast<unsigned>(p.integer("queues", 1, kQueuesMost))};
        p.done();
        if (kind_of_link(port.bridge, prefix) != LinkKind::kBridge) {
            p.wrong("bridge", "a bridge of the configuration's prefix");
        }
        machine.ports.push_back(std::move(port));
    });
    f.done();
    return machine;
}

MachineNet grant(const Request& request, const Registry& registry, const Config& config) {
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
        const Subnet range = Subnet::parse(subnet->second);
        const Ipv4 ip = Ipv4::parse(address->second);
        if (network->second.mode != NetworkConfig::Mode::kBridge || network->second.shared) {
            fail(ExitCode::kConfig, "networks.{}.mode: not on this host yet", net);
        }
        if (!range.contains(ip) || ip <= range.gateway()) {
            fail(ExitCode::kData, "registry: address '{}' is not in '{}'", ip.str(), range.str());
        }
        machine.ports.push_back(
            {wanted.tap, tap_name(config.prefix, entry->index, k), wanted.mac, wanted.network, ip,
             range, bridge_name(config.prefix, wanted.network, tenant->second.index, range),
             network->second.mtu.value_or(1500), wanted.queues});
    }
    return machine;
}

bool Plan::has_bridge(std::string_view name) const {
    return std::any_of(bridges.begin(), bridges.end(),
                       [&](const Bridge& b) { return b.name == name; });
}

bool Plan::has_tap(std::string_view name) const {
    return std::any_of(machines.begin(), machines.end(), [&](const MachineNet& m) {
        return std::any_of(m.ports.begin(), m.ports.end(),
                           [&](const Port& p) { return p.outside == name; });
    });
}

std::string Plan::describe() const {
    std::string text;
    for (const Bridge& b : bridges) {
        text += fmt::format("bridge {} {} {}/{} mtu {}\n", b.name, b.mac, b.subnet.gateway().str(),
                            b.subnet.prefix, b.mtu);
    }
    for (const MachineNet& m : machines) {
        for (const Port& p : m.ports) {
            text +=
                fmt::format("tap {} ({} of {}) {} {} on {} uid {} queues {}\n", p.outside, p.inside,
                            m.path.text(), p.mac, p.address.str(), p.bridge, m.owner, p.queues);
        }
    }
    return text + rules;
}

Plan make_plan(const Config& config, std::vector<MachineNet> machines) {
    std::map<std::string, Bridge> bridges;
    std::map<std::string, std::map<std::string, int>> uses; // bridge -> short name -> how many
    for (const MachineNet& m : machines) {
        for (const Port& p : m.ports) {
            ++uses[p.bridge][m.path.machine.str()];
        }
    }
    for (const MachineNet& m : machines) {
        for (const Port& p : m.ports) {
            auto [at, fresh] = bridges.try_emplace(p.bridge);
            Bridge& bridge = at->second;
            if (fresh) {
                const std::uint32_t gateway = p.subnet.gateway().value;
                bridge.name = p.bridge;
                bridge.mac =
                    fmt::format("02:5e:{:02x}:{:02x}:{:02x}:{:02x}", gateway >> 24U,
                                gateway >> 16U & 255U, gateway >> 8U & 255U, gateway & 255U);
                bridge.subnet = p.subnet;
                bridge.mtu = p.mtu;
                if (const auto network = config.networks.find(p.network);
                    network != config.networks.end()) {
                    bridge.mtu = network->second.mtu.value_or(1500);
                    bridge.dns = network->second.dns;
                }
            }
            Bridge::Host host{p.mac, p.address, {m.path.machine.str() + "." + m.path.repo.str()}};
            if (uses[p.bridge][m.path.machine.str()] == 1) {
                host.names.push_back(m.path.machine.str());
            }
            bridge.hosts.push_back(std::move(host));
        }
    }
    Plan plan;
    plan.rules = render_rules(make_rules(config, machines));
    for (auto& [name, bridge] : bridges) {
        plan.bridges.push_back(std::move(bridge));
    }
    plan.machines = std::move(machines);
    return plan;
}

std::string bridge_name(const std::string& prefix, const Network& network,
                        std::uint32_t tenant_index, const Subnet& subnet) {
    return fmt::format("{}b{}", prefix,
                       network.str() == "default" ? tenant_index : subnet.base.value);
}

std::string tap_name(const std::string& prefix, std::uint32_t index, std::size_t k) {
    return fmt::format("{}t{}x{}", prefix, index, k);
}

namespace {

/// Drops leading digits; false when there are none.
bool eat_digits(std::string_view& text) noexcept {
    const auto count = std::min(text.find_first_not_of("0123456789"), text.size());
    text.remove_prefix(count);
    return count > 0;
}

} // namespace

LinkKind kind_of_link(std::string_view name, std::string_view prefix) noexcept {
    if (name.size() > 15 || !name.starts_with(prefix) || name.size() == prefix.size()) {
        return LinkKind::kNone;
    }
    const char letter = name[prefix.size()];
    name.remove_prefix(prefix.size() + 1);
    if (!eat_digits(name)) {
        return LinkKind::kNone;
    }
    if (letter == 'b' && name.empty()) {
        return LinkKind::kBridge;
    }
    if (letter == 't' && name.starts_with('x')) {
        name.remove_prefix(1);
        return eat_digits(name) && name.empty() ? LinkKind::kTap : LinkKind::kNone;
    }
    return LinkKind::kNone;
}

bool is_any_bridge(std::string_view name) noexcept {
    const auto letters = name.find_first_not_of("abcdefghijklmnopqrstuvwxyz");
    return letters != std::string_view::npos && letters >= 2 && letters <= 5 &&
           kind_of_link(name, name.substr(0, letters - 1)) == LinkKind::kBridge;
}

} // namespace sky::net
