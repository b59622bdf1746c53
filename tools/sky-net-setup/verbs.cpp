// SPDX-License-Identifier: MIT
#include <sky-net-setup/verbs.hpp>

#include <sky-net-setup/beside.hpp>
#include <sky-net-setup/dnsmasq.hpp>
#include <sky-net-setup/facts.hpp>
#include <sky-net-setup/firewall.hpp>
#include <sky-net-setup/host.hpp>
#include <sky-net-setup/link.hpp>
#include <sky-net-setup/rules.hpp>
#include <sky-net-setup/segment-links.hpp>
#include <sky-net-setup/tap.hpp>
#include <sky-net-setup/verify.hpp>
#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/json.hpp>
#include <sky/lines.hpp>
#include <sky/lock.hpp>
#include <sky/log.hpp>
#include <sky/registry.hpp>
#include <sky/state.hpp>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fmt/ranges.h>
#include <functional>
#include <unistd.h>

namespace sky::net {
namespace {

constexpr std::chrono::seconds kLockPatience{45};
constexpr std::size_t kRequestCap = 64 * 1024;

struct Options {
    bool json = false;
    bool dry_run = false;
    bool off = false;
    bool check = false;
};

std::set<std::string> bridges_of(const MachineNet& machine) {
    std::set<std::string> result;
    for (const Port& port : machine.ports) {
        result.insert(port.bridge);
    }
    return result;
}

/// The machines of this host with one put in, or taken out.
std::vector<MachineNet> without(std::vector<MachineNet> machines, const MachinePath& path) {
    std::erase_if(machines, [&](const MachineNet& m) { return m.path == path; });
    return machines;
}

void print(const std::string& text) {
    write_all(STDOUT_FILENO, text);
}

void print_dry(const Config& config, const Plan& plan) {
    print(plan.describe());
    for (const Bridge& bridge : plan.bridges) {
        const DnsFiles files(State(config).net(), bridge.name);
        print("--- " + files.conf.string() + "\n" +
              render_dns_conf(bridge, files, config.accounts.dns, "GROUP") + "--- " +
              files.hosts.string() + "\n" + render_dns_hosts(bridge) + "--- " +
              files.names.string() + "\n" + render_dns_names(bridge));
    }
}

Json report(Links& links, const MachineNet& machine) {
    Json list = Json::array();
    for (const Port& port : machine.ports) {
        const auto link = links.find(port.outside);
        list.push_back({{"tap", port.outside},
                        {"bridge", port.bridge},
                        {"mac", port.mac},
                        {"network", port.network.str()},
                        {"address", port.address.str()},
                        {"state", !link           ? "prepared"
                                  : link->carrier ? "attached"
                                                  : "unused"}});
    }
    return {{"v", 1},
            {"tenant", machine.path.tenant.str()},
            {"repo", machine.path.repo.str()},
            {"machine", machine.path.machine.str()},
            {"interfaces", list}};
}

void print_report(const MachineNet& machine, const Options& options) {
    Links links;
    const Json value = report(links, machine);
    if (options.json) {
        write_line(STDOUT_FILENO, value);
        return;
    }
    for (const Json& i : value["interfaces"]) {
        print(fmt::format("{:<32} {:<12} {:<15} {:<15} {} {}\n", machine.path.text(),
                          i["network"].get<std::string>(), i["address"].get<std::string>(),
                          i["tap"].get<std::string>(), i["mac"].get<std::string>(),
                          i["state"].get<std::string>()));
    }
}

Request read_request() {
    return Request::parse(read_all(STDIN_FILENO, kRequestCap, "the request on stdin"));
}

Lock take_lock(const Config& config, std::string_view verb) {
    const auto directory = State(config).net();
    make_directories(directory, 0755);
    make_directories(directory / "machines", 0700);
    return Lock::take(directory / "lock", fmt::format("sky-net-setup {} {}", verb, ::getpid()),
                      kLockPatience);
}

pid_t netns_of(const Request& request) {
    if (!request.netns) {
        fail(ExitCode::kData, "request.netns: missing");
    }
    return *request.netns;
}

int up(const Config& config, const Options& options) {
    const Request request = read_request();
    if (!request.interfaces) {
        fail(ExitCode::kData, "request.interfaces: missing");
    }
    const Host host(config);
    if (options.dry_run) {
        const Registry registry = load_registry(config);
        auto machines = without(host.machines(), request.path);
        machines.push_back(grant(request, registry, config, read_facts(config)));
        print_dry(config, plan_of(config, std::move(machines), registry));
        return 0;
    }
    const Fd netns = open_netns(netns_of(request));
    const Lock lock = take_lock(config, "up");
    const Registry registry = load_registry(config);
    const MachineNet machine = grant(request, registry, config, read_facts(config));
    if (join_beside(config, host, machine, registry)) {
        host.make_taps(machine, netns);
        if (options.json) {
            print_report(machine, options);
        }
        return 0;
    }
    // The registry gave it an address that is nobody else's: who has it here died with this host.
    auto machines = without(host.machines(), machine.path);
    std::erase_if(machines, [&](const MachineNet& other) {
        const bool died = has_address_of(other, machine);
        if (died) {
            host.forget(other.path);
        }
        return died;
    });
    machines.push_back(machine);
    const Plan plan = plan_of(config, std::move(machines),
                              registry); // before it is remembered: a refusal changes nothing
    check_kernel(config, plan);
    host.remember(machine);
    host.converge(plan, bridges_of(machine));
    host.make_taps(machine, netns);
    if (options.json) {
        print_report(machine, options);
    }
    return 0;
}

int attach(const Config& config, const Options& options) {
    const Request request = read_request();
    const Host host(config);
    const pid_t pid = netns_of(request);
    std::optional<Lock> lock;
    if (!options.dry_run) {
        lock = take_lock(config, "attach");
    }
    const auto machine = host.machine(request.path);
    if (!machine) {
        fail(ExitCode::kRefused, "'{}' has no interfaces here (sky-net-setup up comes first)",
             request.path.text());
    }
    if (options.dry_run) {
        print(plan_of(config, host.machines(), try_registry(config)).describe());
        return 0;
    }
    const Fd netns = open_netns(pid);
    if (!attach_beside(config, host, *machine, netns)) {
        const Plan plan = plan_of(config, host.machines(), try_registry(config));
        host.converge(plan, {});
        host.attach(*machine, plan, netns);
    }
    if (options.json) {
        print_report(*machine, options);
    }
    return 0;
}

int down(const Config& config, const Options& options) {
    const Request request = read_request();
    const Host host(config);
    if (options.dry_run) {
        print_dry(config,
                  plan_of(config, without(host.machines(), request.path), try_registry(config)));
        return 0;
    }
    const Lock lock = take_lock(config, "down");
    const auto machine = host.machine(request.path);
    if (machine && request.netns) {
        try {
            host.drop_taps(*machine, open_netns(*request.netns));
        } catch (const SysError&) {
            // The namespace went with its last process, and the taps in it too.
        }
    }
    if (machine && leave_beside(config, host, *machine)) {
        return 0;
    }
    host.forget(request.path);
    host.converge(plan_of(config, host.machines(), try_registry(config)),
                  machine ? bridges_of(*machine) : std::set<std::string>{});
    return 0;
}

int boundary(const Config& config, const Options& options) {
    const Host host(config);
    if (options.dry_run) {
        print(options.off ? render_removal(config.prefix)
                          : plan_of(config, host.machines(), try_registry(config)).describe());
        return 0;
    }
    const Lock lock = take_lock(config, "boundary");
    if (!options.off) {
        host.converge(plan_of(config, host.machines(), try_registry(config)), {});
        drop_old_table(config.prefix);
        return 0;
    }
    for (const MachineNet& machine : host.machines()) {
        if (host.in_use(machine)) {
            fail(ExitCode::kRefused, "'{}' runs (stop the machines first)", machine.path.text());
        }
    }
    for (const MachineNet& machine : host.machines()) {
        host.forget(machine.path);
    }
    host.converge(plan_of(config, {}, std::nullopt), {});
    load_rules(render_removal(config.prefix));
    drop_old_table(config.prefix);
    return 0;
}

void print_verdict(const Verdict& verdict, const Options& options) {
    if (options.json) {
        write_line(STDOUT_FILENO, {{"v", 1},
                                   {"mode", verdict.mode},
                                   {"way", verdict.way},
                                   {"forged", verdict.forged},
                                   {"crossed", verdict.crossed},
                                   {"honest", verdict.honest},
                                   {"lost", verdict.lost},
                                   {"unprovable", verdict.unprovable}});
        return;
    }
    print(verdict.describe());
}

int prove(const Config& config, const Options& options) {
    const Host host(config);
    const Lock lock = take_lock(config, "verify");
    const auto back = [&] {
        host.converge(plan_of(config, host.machines(), try_registry(config)), {});
    };
    std::vector<Verdict> verdicts;
    try {
        verdicts = net::verify(config, host, read_facts(config));
    } catch (...) {
        back();
        throw;
    }
    back();
    for (const Verdict& verdict : verdicts) {
        print_verdict(verdict, options);
    }
    if (std::any_of(verdicts.begin(), verdicts.end(),
                    [](const Verdict& verdict) { return !verdict.crossed.empty(); })) {
        return static_cast<int>(ExitCode::kSomeFailed);
    }
    if (!std::all_of(verdicts.begin(), verdicts.end(), std::mem_fn(&Verdict::shown))) {
        fail(ExitCode::kBusy, "no forged frame came through, but honest ones were not seen in time "
                              "either: nothing is shown (again when the host is less busy; if it "
                              "stays so, its machines do not reach each other)");
    }
    return 0;
}

/// "MAC ADDRESS IPV6|- NAME" of every machine of networks that the operator serves.
int reservations(const Config& config, const Options& options) {
    const Registry registry = load_registry(config);
    for (const auto& [joined, machine] : registry.machines) {
        const auto path = MachinePath::parse_joined(joined);
        for (const auto& [network, address] : machine.addresses) {
            const auto of = config.networks.find(Network::parse(network));
            if (of == config.networks.end() || !of->second.operator_dhcp) {
                continue;
            }
            const std::string name =
                path.machine.str() + "." + path.repo.str() + "." + path.tenant.str();
            for (std::uint32_t k = 0; k < kMacsPerMachine;
                 ++k) { // whichever interface it has there
                const std::string mac = machine_mac(machine.index, k);
                if (options.json) {
                    write_line(STDOUT_FILENO, {{"v", 1},
                                               {"network", network},
                                               {"mac", mac},
                                               {"address", address},
                                               {"name", name}});
                } else {
                    print(fmt::format("{} {} {} {}\n", network, mac, address, name));
                }
            }
        }
    }
    return 0;
}

int list(const Config& config, const Options& options) {
    for (const MachineNet& machine : Host(config).machines()) {
        print_report(machine, options);
    }
    return 0;
}

} // namespace

int main_body(Cli& cli) {
    Options options;
    struct Verb {
        const char* name;
        const char* help;
        int (*run)(const Config&, const Options&);
    };
    constexpr Verb kVerbs[] = {
        {"up", "bridge, rules, DHCP and DNS, then the taps in the machine's namespace", up},
        {"attach", "move the taps to the host and onto the bridge", attach},
        {"down", "remove what up and attach made; the bridge with its last machine", down},
        {"boundary", "load the rules that keep tenants and machines off this host", boundary},
        {"list", "machines that are up here", list},
        {"verify", "send forged frames between scratch ports and show that none arrives", prove},
        {"reservations", "addresses of machines for the operator's own DHCP server", reservations},
    };
    cli.app().require_subcommand(1);
    for (const Verb& verb : kVerbs) {
        auto* sub = cli.app().add_subcommand(verb.name, verb.help);
        sub->add_flag("--json", options.json, "report as JSON lines");
        if (verb.run != list && verb.run != prove && verb.run != reservations) {
            sub->add_flag("--dry-run", options.dry_run, "print the plan, change nothing");
        }
        if (verb.run == boundary) {
            sub->add_flag("--off", options.off,
                          "take away the rules, and what dead machines left (none may run)");
            sub->add_flag("--check", options.check,
                          "whether the rules are what the configuration wants; changes nothing");
        }
    }
    cli.examples("  sky-net-setup boundary\n"
                 "  sky-net-setup up <<'E'\n"
                 "  {\"v\":1,\"tenant\":\"alice\",\"repo\":\"infra\",\"machine\":\"www\",\n"
                 "   \"netns\":\"/proc/4711/ns/net\",\"interfaces\":[{\"tap\":\"sky0\",\n"
                 "   \"mac\":\"02:5f:00:00:00:07\",\"network\":\"default\",\"queues\":1}]}\n"
                 "  E\n"
                 "  sky-net-setup list --json");
    cli.parse();
    const Config& config = cli.config();
    if (::geteuid() != 0) {
        fail(ExitCode::kRefused, "only root sets up networks (it is called by sky-vm-run)");
    }
    if (options.check) {
        check_rules(config);
        return 0;
    }
    check_storage(config);
    for (const Verb& verb : kVerbs) {
        if (cli.app().got_subcommand(verb.name)) {
            return verb.run(config, options);
        }
    }
    fail(ExitCode::kBug, "a verb without code");
}

} // namespace sky::net
