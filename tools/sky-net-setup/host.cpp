// SPDX-License-Identifier: MIT
#include <sky-net-setup/host.hpp>

#include <sky-net-setup/dnsmasq.hpp>
#include <sky-net-setup/firewall.hpp>
#include <sky-net-setup/link.hpp>
#include <sky-net-setup/rules.hpp>
#include <sky-net-setup/segment-links.hpp>
#include <sky-net-setup/tap.hpp>
#include <sky/error.hpp>
#include <sky/log.hpp>
#include <sky/state.hpp>

#include <algorithm>
#include <fcntl.h>
#include <unistd.h>

namespace sky::net {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kMachineCap = 64 * 1024;
constexpr std::size_t kStandsCap = 16U << 20U;
constexpr const char* kStands = "stands";
constexpr const char* kMark4 = "forwarding";
constexpr const char* kSetting4 = "/proc/sys/net/ipv4/ip_forward";
constexpr const char* kMark6 = "forwarding6";
constexpr const char* kSetting6 = "/proc/sys/net/ipv6/conf/all/forwarding";

/// What the segments of a plan need of the kernel.
struct Forwarding {
    explicit Forwarding(const Plan& plan) {
        for (const Bridge& bridge : plan.bridges) {
            ipv4 = ipv4 || bridge.served;
            ipv6 = ipv6 || (bridge.served && !bridge.ipv6.empty());
        }
    }
    bool ipv4 = false;
    bool ipv6 = false;
};

std::string trimmed(std::string text) {
    text.erase(std::find(text.begin(), text.end(), '\n'), text.end());
    return text;
}

} // namespace

fs::path Host::file(const MachinePath& path) const {
    return State(config_).net() / "machines" / (path.joined() + ".json");
}

std::vector<MachineNet> Host::machines() const {
    std::vector<MachineNet> result;
    const fs::path directory = State(config_).net() / "machines";
    if (!fs::exists(directory)) {
        return result;
    }
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(directory)) {
        if (entry.path().extension() == ".json") {
            files.push_back(entry.path());
        }
    }
    std::sort(files.begin(), files.end());
    for (const fs::path& path : files) {
        result.push_back(MachineNet::parse(read_file(path, kMachineCap), config_.prefix));
    }
    return result;
}

std::optional<MachineNet> Host::machine(const MachinePath& path) const {
    const auto text = read_file_if_exists(file(path), kMachineCap);
    return text ? std::optional(MachineNet::parse(*text, config_.prefix)) : std::nullopt;
}

void Host::remember(const MachineNet& machine) const {
    atomic_write(file(machine.path), machine.dump() + "\n");
}

void Host::forget(const MachinePath& path) const {
    fs::remove(file(path));
}

bool Host::in_use(const MachineNet& machine) const {
    Links links;
    return std::any_of(machine.ports.begin(), machine.ports.end(), [&](const Port& port) {
        const auto link = links.find(port.outside);
        return link && link->carrier;
    });
}

/// Packets between guests and the world cross the host only if it forwards. Who switched that on
/// switches it off, unless another prefix's bridge is there, which found it on.
void Host::forwarding(const char* mark_name, const char* setting, bool wanted) const {
    const fs::path mark = State(config_).net() / mark_name;
    const auto now = read_file_if_exists(setting, 64);
    if (!now) {
        return; // a kernel without IPv6
    }
    if (wanted && trimmed(*now) != "1") {
        atomic_write(mark, "0\n");
        write_all(open_file(setting, O_WRONLY).get(), "1");
    }
    if (!wanted && fs::exists(mark)) {
        const auto links = Links().all();
        if (std::none_of(links.begin(), links.end(), [](const Links::Link& link) {
                return link.type == "bridge" && is_any_bridge(link.name);
            })) {
            write_all(open_file(setting, O_WRONLY).get(), "0");
        }
        fs::remove(mark);
    }
}

void Host::sweep(const Plan& plan) const {
    Links links;
    const auto all = links.all();
    const auto kind = [&](const auto& link) { return kind_of_link(link.name, config_.prefix); };
    const auto taps = plan.taps();
    for (const auto& link : all) {
        if (kind(link) == LinkKind::kTap && link.type == "tun" && !taps.contains(link.name)) {
            log::debug("removing tap {}", link.name);
            links.remove(link.name);
        }
    }
    std::vector<std::string> gone;
    for (const auto& entry : fs::directory_iterator(State(config_).net())) {
        const std::string name = entry.path().stem().string();
        const Bridge* bridge = plan.find_bridge(name);
        if (entry.path().extension() == ".conf" && (bridge == nullptr || !bridge->served) &&
            kind_of_link(name, config_.prefix) == LinkKind::kBridge) {
            gone.push_back(name);
        }
    }
    for (const std::string& name : gone) {
        remove_dnsmasq(config_, name);
    }
    for (const auto& link : all) { // what is on a switch goes before it, or with it
        const bool ours =
            (kind(link) == LinkKind::kBridge && (link.type == "bridge" || link.type == "vlan")) ||
            (kind(link) == LinkKind::kVxlan && link.type == "vxlan") ||
            (kind(link) == LinkKind::kSwitch && link.type == "bridge");
        if (ours && !plan.has_link(link.name)) {
            log::debug("removing {} {}", link.type, link.name);
            links.remove(link.name);
        }
    }
}

bool Host::stands(const Plan& plan) const {
    return read_file_if_exists(State(config_).net() / kStands, kStandsCap) == plan.base;
}

void Host::begin() const {
    fs::remove(State(config_).net() / kStands);
}

void Host::end(const Plan& plan) const {
    if (members().any()) {
        atomic_write(State(config_).net() / kStands, plan.base, {.mode = 0600, .durable = false});
    }
}

Members Host::members() const {
    return Members(State(config_).net());
}

std::vector<MachineNet> Host::neighbours(const MachineNet& machine) const {
    std::vector<MachineNet> result;
    for (const Port& port : machine.ports) {
        for (MachineNet& other : members().beside(port, machine.path, config_.prefix)) {
            result.push_back(std::move(other));
        }
    }
    return result;
}

void Host::join(const Plan& plan, const MachineNet& machine) const {
    begin();
    remember(machine);
    need_tables(plan.prefix, plan.mark);
    std::string rules;
    for (const Bridge& bridge : plan.bridges) {
        if (bridge.hosts.size() == 1) { // else it is there since the first
            rules += render_segment(config_.prefix, bridge);
        }
    }
    connect(plan, rules);
    members().add(machine);
    for (const Bridge& bridge : plan.bridges) {
        if (bridge.served) {
            ensure_dnsmasq(config_, bridge, true);
        }
    }
}

void Host::leave(const Plan& plan, const MachineNet& machine,
                 const std::vector<Bridge>& was) const {
    begin();
    Links links;
    std::string rules;
    for (const Port& port : machine.ports) {
        if (const auto link = links.find(port.outside); link && link->type == "tun") {
            links.remove(port.outside);
        }
        drop_chain(config_.prefix, port.outside);
    }
    forget(machine.path);
    members().remove(machine);
    for (const Bridge& bridge : was) {
        if (const Bridge* still = plan.find_bridge(bridge.name)) {
            if (still->served) {
                ensure_dnsmasq(config_, *still, true);
            }
            continue;
        }
        if (bridge.served) {
            remove_dnsmasq(config_, bridge.name);
        }
        if (kind_of_link(bridge.uplink, config_.prefix) == LinkKind::kVxlan) {
            links.remove(bridge.uplink);
            rules += render_no_uplink(config_.prefix, bridge.uplink);
        }
        links.remove(bridge.name);
        rules += render_no_segment(config_.prefix, bridge);
    }
    load_rules(rules);
}

void Host::converge(const Plan& plan, const std::set<std::string>& touched) const {
    begin();
    sweep(plan);
    arrange(plan);
    members().replace(plan.machines);
    for (const Bridge& bridge : plan.bridges) {
        if (bridge.served) {
            ensure_dnsmasq(config_, bridge, touched.contains(bridge.name));
        }
    }
    end(plan);
}

void Host::arrange(const Plan& plan) const {
    begin();
    std::set<std::string> there;
    for (const auto& link : Links().all()) {
        there.insert(link.name);
    }
    connect(plan, plan.base + plan.rules + plan.guards_of(there));
    const Forwarding wanted(plan);
    if (!wanted.ipv4) {
        forwarding(kMark4, kSetting4, false);
    }
    if (!wanted.ipv6) {
        forwarding(kMark6, kSetting6, false);
    }
}

void Host::connect(const Plan& plan, const std::string& rules) const {
    // The boundary stands before anything that it guards.
    load_rules(rules);
    Links links;
    make_segments(links, plan);
    const Forwarding wanted(plan);
    if (wanted.ipv4) {
        forwarding(kMark4, kSetting4, true);
    }
    if (wanted.ipv6) {
        forwarding(kMark6, kSetting6, true);
    }
}

void Host::make_taps(const MachineNet& machine, const Fd& netns) const {
    std::vector<const Port*> missing;
    {
        Links links;
        for (const Port& port : machine.ports) {
            const auto link = links.find(port.outside);
            if (link && link->carrier) {
                continue; // a runner has it open
            }
            if (link) {
                links.remove(port.outside); // a dead machine left it
            }
            missing.push_back(&port);
        }
    }
    const InNetns inside(netns);
    for (const Port* port : missing) {
        ensure_tap(port->inside, machine.owner, port->queues);
    }
}

void Host::attach(const MachineNet& machine, const Plan& plan, const Fd& netns) const {
    need_tables(plan.prefix, plan.mark);
    Links links;
    const Fd home = own_netns();
    for (const Port& port : machine.ports) {
        const Bridge* bridge = plan.find_bridge(port.bridge);
        if (bridge == nullptr) {
            fail(ExitCode::kBug, "no bridge '{}' in the plan", port.bridge);
        }
        if (!links.find(port.outside)) {
            const InNetns inside(netns);
            Links theirs;
            if (!theirs.find(port.inside)) {
                fail(ExitCode::kSystem,
                     "no tap '{}' in the machine's network namespace (is it up?)", port.inside);
            }
            theirs.move(port.inside, home, port.outside);
        }
        load_rules(render_guard(config_.prefix, port));
        plug(links, port, *bridge);
    }
}

void Host::drop_taps(const MachineNet& machine, const Fd& netns) const {
    const InNetns inside(netns);
    Links links;
    for (const Port& port : machine.ports) {
        links.remove(port.inside);
    }
}

void check_rules(const Config& config) {
    if (!tables_stand(config.prefix, mark_of(render_rules(make_rules(config))))) {
        fail(ExitCode::kSomeFailed,
             "nftables has other rules in its tables '{}' than the configuration wants "
             "(sky-net-setup boundary)",
             config.prefix);
    }
}

} // namespace sky::net
