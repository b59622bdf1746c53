// SPDX-License-Identifier: MIT
#include <sky-net-setup/dnsmasq.hpp>
#include <sky-net-setup/firewall.hpp>
#include <sky-net-setup/host.hpp>
#include <sky-net-setup/link.hpp>
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
constexpr std::string_view kForward = "/proc/sys/net/ipv4/ip_forward";

/// A setting below /proc/sys/net, of the namespace we are in. Nothing if the kernel has not got it.
void set_sysctl(const fs::path& file, std::string_view value) {
    if (fs::exists(file)) {
        write_all(open_file(file, O_WRONLY).get(), value);
    }
}

fs::path link_sysctl(std::string_view family, const std::string& link, std::string_view key) {
    return fs::path("/proc/sys/net") / family / "conf" / link / key;
}

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
void Host::forwarding(bool wanted) const {
    const fs::path mark = State(config_).net() / "forwarding";
    const bool on = trimmed(read_file(kForward, 64)) == "1";
    if (wanted && !on) {
        atomic_write(mark, "0\n");
        write_all(open_file(kForward, O_WRONLY).get(), "1");
    }
    if (!wanted && fs::exists(mark)) {
        const auto links = Links().all();
        if (std::none_of(links.begin(), links.end(), [](const Links::Link& link) {
                return link.type == "bridge" && is_any_bridge(link.name);
            })) {
            write_all(open_file(kForward, O_WRONLY).get(), "0");
        }
        fs::remove(mark);
    }
}

void Host::sweep(const Plan& plan) const {
    Links links;
    for (const auto& link : links.all()) {
        if (kind_of_link(link.name, config_.prefix) == LinkKind::kTap && link.type == "tun" &&
            !plan.has_tap(link.name)) {
            log::debug("removing tap {}", link.name);
            links.remove(link.name);
        }
    }
    std::vector<std::string> gone;
    for (const auto& entry : fs::directory_iterator(State(config_).net())) {
        const std::string name = entry.path().stem().string();
        if (entry.path().extension() == ".conf" && !plan.has_bridge(name) &&
            kind_of_link(name, config_.prefix) == LinkKind::kBridge) {
            gone.push_back(name);
        }
    }
    for (const std::string& name : gone) {
        remove_dnsmasq(config_, name);
    }
    for (const auto& link : links.all()) {
        if (kind_of_link(link.name, config_.prefix) == LinkKind::kBridge && link.type == "bridge" &&
            !plan.has_bridge(link.name)) {
            log::debug("removing bridge {}", link.name);
            links.remove(link.name);
        }
    }
}

void Host::converge(const Plan& plan, const std::set<std::string>& touched) const {
    sweep(plan);
    // The boundary stands before anything that it guards.
    load_rules(plan.rules);
    Links links;
    for (const Bridge& bridge : plan.bridges) {
        links.ensure_bridge(bridge.name, bridge.mac, bridge.mtu);
        set_sysctl(link_sysctl("ipv6", bridge.name, "disable_ipv6"), "1");
        set_sysctl(link_sysctl("ipv4", bridge.name, "arp_ignore"), "1"); // no other address of ours
        links.ensure_address(bridge.name, bridge.subnet.gateway(), bridge.subnet.prefix);
        links.set_up(bridge.name);
    }
    forwarding(!plan.bridges.empty());
    for (const Bridge& bridge : plan.bridges) {
        ensure_dnsmasq(config_, bridge, touched.contains(bridge.name));
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

void Host::attach(const MachineNet& machine, const Fd& netns) const {
    Links links;
    const Fd home = own_netns();
    for (const Port& port : machine.ports) {
        if (!links.find(port.outside)) {
            const InNetns inside(netns);
            Links theirs;
            if (!theirs.find(port.inside)) {
                fail(ExitCode::kSystem,
                     "no tap '{}' in the machine's network namespace (is it up?)", port.inside);
            }
            theirs.move(port.inside, home, port.outside);
        }
        set_sysctl(link_sysctl("ipv6", port.outside, "disable_ipv6"), "1");
        links.set_mtu(port.outside, port.mtu);
        links.enslave(port.outside, port.bridge);
        links.set_up(port.outside);
    }
}

void Host::drop_taps(const MachineNet& machine, const Fd& netns) const {
    const InNetns inside(netns);
    Links links;
    for (const Port& port : machine.ports) {
        links.remove(port.inside);
    }
}

} // namespace sky::net
