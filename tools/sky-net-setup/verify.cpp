// SPDX-License-Identifier: MIT
#include <sky-net-setup/verify.hpp>

#include <sky-net-setup/firewall.hpp>
#include <sky-net-setup/frame.hpp>
#include <sky-net-setup/rules.hpp>
#include <sky-net-setup/segment-links.hpp>
#include <sky-net-setup/segment.hpp>
#include <sky-net-setup/tap.hpp>
#include <sky/error.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <fmt/ranges.h>
#include <poll.h>
#include <set>
#include <unistd.h>

namespace sky::net {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::uint32_t kScratchIndex = kMachineIndexMax + 1; ///< no machine's
constexpr std::uint32_t kScratchVlan = 4094;
constexpr const char* kNetwork4 = "198.18.0.0";  ///< for benchmarks, RFC 2544
constexpr const char* kNetwork6 = "2001:2::/48"; ///< RFC 5180
constexpr std::chrono::seconds kPatience{30}; ///< for all honest frames: who else needs the host's
                                              ///< lock waits longer than that
constexpr std::chrono::milliseconds kAgain{200};   ///< so long a frame may be on its way
constexpr std::chrono::milliseconds kSilence{150}; ///< so long nothing more may come

/// A scratch port, with the hypervisor's end of its tap.
struct Scratch {
    Port port;
    Fd tap;
    Speaker speaker;
};

Port scratch_port(const Config& config, Mode mode, std::uint32_t number, bool ipv6) {
    const std::uint32_t tenant = number == 2 ? 2 : 1; // two neighbours, and somebody else
    const std::uint32_t base = Ipv4::parse(kNetwork4).value + 256 * tenant;
    Port port{.inside = "",
              .outside = tap_name(config.prefix, kScratchIndex + number, 0),
              .mac = machine_mac(kScratchIndex + number, 0),
              .network = Network::parse("verify"),
              .mode = mode,
              .address = Ipv4{base + 10 + number},
              .subnet = Subnet{Ipv4{base}, 24},
              .ipv6 = ipv6 ? *ipv6_subnet(kNetwork6, tenant) : "",
              .bridge = "",
              .id = mode == Mode::kVlan ? kScratchVlan - tenant : 0};
    port.bridge = bridge_name(config.prefix, port.network, 0, port.subnet, true);
    return port;
}

Speaker speaker_of(const Port& port) {
    const bool six = !port.ipv6.empty();
    return {port.mac, port.address, six ? ipv6_address(port.ipv6, port.mac) : "",
            six ? ipv6_address("fe80::", port.mac) : ""};
}

void send(const Scratch& from, const Frame& frame) {
    if (::write(from.tap.get(), frame.data(), frame.size()) < 0) {
        fail_errno("cannot send from '{}'", from.port.outside);
    }
}

/// Takes what came out of a tap; the numbers of marked frames go into `heard`.
void take(const Scratch& at, std::set<std::size_t>& heard) {
    std::array<char, 4096> buffer{};
    for (;;) {
        const ssize_t size = ::read(at.tap.get(), buffer.data(), buffer.size());
        if (size <= 0) {
            return;
        }
        const std::string_view frame(buffer.data(), static_cast<std::size_t>(size));
        constexpr std::string_view kHead = "sky-verify:";
        if (const auto found = frame.find(kHead); found != std::string_view::npos) {
            std::size_t number = 0;
            const char* first = frame.data() + found + kHead.size();
            std::from_chars(first, frame.data() + frame.size(), number);
            heard.insert(number);
        }
    }
}

/// Who was not up yet is by now known to its gateway.
void introduce(const Scratch& scratch) {
    const Port& p = scratch.port;
    send(scratch, arp_request(p.mac, p.address, p.subnet.gateway()));
    if (!p.ipv6.empty()) {
        send(scratch, solicitation(p.mac, scratch.speaker.ipv6, kGatewayLocal));
    }
}

void listen(const Scratch& to, std::chrono::milliseconds time, std::set<std::size_t>& heard) {
    pollfd poll{to.tap.get(), POLLIN, 0};
    static_cast<void>(::poll(&poll, 1, static_cast<int>(time.count())));
    take(to, heard);
}

/// Sends those frames again and again until all were heard, or until `end`, but once at least: a
/// link that is new takes its time before it carries anything, a busy host some more.
void insist(const Scratch& from, const Scratch& to, const std::vector<Forgery>& list,
            const std::set<std::size_t>& wanted, Clock::time_point end,
            std::set<std::size_t>& heard) {
    const auto missing = [&] {
        return !std::includes(heard.begin(), heard.end(), wanted.begin(), wanted.end());
    };
    do {
        introduce(from);
        introduce(to);
        for (const std::size_t i : wanted) {
            if (!heard.contains(i)) {
                send(from, list.at(i).frame);
            }
        }
        const auto again = Clock::now() + kAgain;
        while (missing() && Clock::now() < again) {
            listen(to, std::chrono::milliseconds(20), heard);
        }
    } while (missing() && Clock::now() < end);
}

/// What of the list is heard: first those that must be, until they are; then each of the others
/// once, and after them the first of those that must be once more. A way keeps frames in order, so
/// when that has come whatever crosses has come.
std::set<std::size_t> exchange(const Scratch& from, const Scratch& to,
                               const std::vector<Forgery>& list,
                               const std::set<std::size_t>& wanted, Clock::time_point end) {
    std::set<std::size_t> heard;
    take(to, heard);
    heard.clear();
    insist(from, to, list, wanted, end, heard);
    for (std::size_t i = 0; i < list.size(); ++i) {
        if (!wanted.contains(i)) {
            send(from, list[i].frame);
        }
    }
    if (!wanted.empty() && heard.erase(*wanted.begin()) != 0) {
        insist(from, to, list, {*wanted.begin()}, end, heard);
    }
    const auto silent = Clock::now() + kSilence;
    while (Clock::now() < silent) {
        listen(to, std::chrono::milliseconds(20), heard);
    }
    return heard;
}

enum class Way { kNeighbour, kBack, kOther };

Verdict judge(const Scratch& from, const Scratch& to, const std::string& next, Way way,
              const std::set<std::string>& provable, Clock::time_point end) {
    Verdict verdict;
    verdict.mode = mode_text(from.port.mode);
    verdict.way = way == Way::kNeighbour ? "to a neighbour"
                  : way == Way::kBack    ? "back"
                                         : "to another tenant";
    const auto list = forgeries(from.speaker, to.speaker, next);
    const bool routed = from.port.mode == Mode::kRouted;
    std::set<std::size_t> wanted;
    for (std::size_t i = 0; i < list.size(); ++i) {
        if (way != Way::kOther && list[i].honest && (!routed || list[i].routed)) {
            wanted.insert(i);
        }
    }
    const auto heard = exchange(from, to, list, wanted, end);
    for (std::size_t i = 0; i < list.size(); ++i) {
        const bool may = way != Way::kOther && (routed ? list[i].routed : list[i].honest);
        if (wanted.contains(i)) {
            ++verdict.honest;
            if (!heard.contains(i)) {
                verdict.lost.push_back(list[i].name);
            }
        } else if (!may) {
            ++verdict.forged;
            if (heard.contains(i)) {
                verdict.crossed.push_back(list[i].name);
            }
            if (way == Way::kNeighbour && !provable.contains(list[i].name)) {
                verdict.unprovable.push_back(list[i].name);
            }
        }
    }
    return verdict;
}

/// What crosses a bridge that nothing guards: the same frames between taps whose names are in no
/// rule.
std::set<std::string> crossing_unguarded(const Config& config, bool ipv6, Clock::time_point end) {
    Links links;
    Port one = scratch_port(config, Mode::kBridge, 0, ipv6);
    Port two = scratch_port(config, Mode::kBridge, 1, ipv6);
    one.outside = config.prefix + "verify0";
    two.outside = config.prefix + "verify1";
    const std::string bridge = switch_name(config.prefix, "unguarded"); // in no rule either
    links.ensure_bridge(bridge, "02:5e:00:00:00:01", 1500);
    links.set_up(bridge);
    const Scratch from{one, scratch_tap(one.outside), speaker_of(one)};
    const Scratch to{two, scratch_tap(two.outside), speaker_of(two)};
    for (const Scratch* each : {&from, &to}) {
        links.enslave(each->port.outside, bridge);
        links.set_learning(each->port.outside, false); // forged MACs would take the other's place
        links.set_up(each->port.outside);
    }
    const auto list = forgeries(from.speaker, to.speaker, to.port.mac);
    std::set<std::size_t> all;
    for (std::size_t i = 0; i < list.size(); ++i) {
        all.insert(i);
    }
    std::set<std::string> names;
    for (const std::size_t i : exchange(from, to, list, all, end)) {
        names.insert(list.at(i).name);
    }
    links.remove(bridge);
    return names;
}

std::vector<Verdict> verify_mode(const Config& config, const Host& host, const Facts& facts,
                                 Mode mode, const std::set<std::string>& provable, bool ipv6,
                                 Clock::time_point end) {
    auto machines = host.machines();
    std::vector<Port> ports;
    for (const std::uint32_t number : {0U, 1U, 2U}) {
        ports.push_back(scratch_port(config, mode, number, ipv6));
        machines.push_back({{Tenant::parse("verify"), Repo::parse("verify"),
                             Machine::parse(fmt::format("v{}", number))},
                            kScratchIndex + number,
                            0,
                            {ports.back()}});
    }
    Plan plan = make_plan(config, std::move(machines), facts);
    for (Bridge& bridge : plan.bridges) {
        const bool of_both = bridge.name == ports[0].bridge || bridge.name == ports[2].bridge;
        if (mode == Mode::kVlan && of_both) {
            bridge.below = switch_name(config.prefix, "verify");
        }
    }
    host.arrange(plan);
    Links links;
    std::vector<Scratch> scratch;
    for (const Port& port : ports) {
        scratch.push_back({port, scratch_tap(port.outside), speaker_of(port)});
        load_rules(render_guard(config.prefix, port));
        plug(links, port, *plan.find_bridge(port.bridge));
    }
    const auto gateway_of = [&](const Scratch& from) {
        const auto link = links.find(mode == Mode::kRouted ? from.port.outside : from.port.bridge);
        return link ? link->mac : "";
    };
    const auto next = [&](const Scratch& from, const Scratch& to) {
        return mode == Mode::kRouted ? gateway_of(from) : to.port.mac;
    };
    const Scratch& a = scratch[0];
    const Scratch& b = scratch[1];
    const Scratch& other = scratch[2];
    return {judge(a, b, next(a, b), Way::kNeighbour, provable, end),
            judge(b, a, next(b, a), Way::kBack, provable, end),
            judge(a, other, gateway_of(a), Way::kOther, provable, end)};
}

} // namespace

std::string Verdict::describe() const {
    std::string text = fmt::format(
        "{:<7} {:<18} {} of {} kinds of forged frame came through{}{}; {} of {} honest ones{}{}\n",
        mode, way, crossed.size(), forged, crossed.empty() ? "" : ": ", fmt::join(crossed, ", "),
        honest - lost.size(), honest, lost.empty() ? "" : ", not: ", fmt::join(lost, ", "));
    for (const std::string& name : unprovable) {
        text += fmt::format("        not shown: {} was not seen without rules either\n", name);
    }
    return text;
}

std::vector<Verdict> verify(const Config& config, const Host& host, const Facts& facts) {
    std::set<Mode> modes;
    bool ipv6 = false;
    for (const auto& [name, network] : config.networks) {
        modes.insert(network.mode == Mode::kVxlan ? Mode::kBridge : network.mode);
        ipv6 = ipv6 || network.ipv6;
    }
    const auto end = Clock::now() + kPatience;
    const auto provable = crossing_unguarded(config, ipv6, end);
    std::vector<Verdict> verdicts;
    for (const Mode mode : modes) {
        const auto some = verify_mode(config, host, facts, mode, provable, ipv6, end);
        verdicts.insert(verdicts.end(), some.begin(), some.end());
    }
    return verdicts;
}

} // namespace sky::net
