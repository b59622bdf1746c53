// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <sky-net-setup/dnsmasq.hpp>
#include <sky-net-setup/plan.hpp>
#include <sky-net-setup/rules.hpp>
#include <sky/error.hpp>

#include <set>

namespace {

using namespace sky;
using namespace sky::net;

Config config_of(const std::string& prefix = "sky") {
    Config config;
    config.prefix = prefix;
    config.state = "/var/lib/skyflake";
    config.machine_uid_first = 2000000;
    config.machine_uid_count = 40000;
    config.tenants[Tenant::parse("alice")].uid = 3001;
    config.tenants[Tenant::parse("bob")].uid = 3002;
    config.networks[Network::parse("default")].ipv4 = "10.88.0.0/16";
    auto& back = config.networks[Network::parse("back")];
    back.ipv4 = "10.89.0.0/16";
    back.masquerade = false;
    back.mtu = 1400;
    back.dns = {"192.0.2.53", "2001:db8::53"};
    return config;
}

Registry registry_of() {
    Registry r;
    r.tenants["alice"] = {1, {{"default", "10.88.1.0/24"}, {"back", "10.89.1.0/24"}}};
    r.tenants["bob"] = {2, {{"default", "10.88.2.0/24"}}};
    const auto add = [&](const char* path, std::uint32_t index, const char* address) {
        auto& m = r.machines[path];
        m.index = index;
        m.uid = 2000000 + index * 4;
        m.addresses["default"] = address;
    };
    add("alice.infra.www", 7, "10.88.1.10");
    r.machines["alice.infra.www"].addresses["back"] = "10.89.1.10";
    add("alice.other.www", 8, "10.88.1.11");
    add("alice.infra.a--b-", 9, "10.88.1.12");
    add("bob.infra.www", 65535, "10.88.2.10");
    return r;
}

std::string request_text(const std::string& path, const std::string& interfaces,
                         const std::string& more = "") {
    const auto p = MachinePath::parse_joined(path);
    return R"({"v":1,"tenant":")" + p.tenant.str() + R"(","repo":")" + p.repo.str() +
           R"(","machine":")" + p.machine.str() + R"(","interfaces":[)" + interfaces + "]" + more +
           "}";
}

std::string one(std::uint32_t index, unsigned k = 0, const std::string& network = "default") {
    return fmt::format(R"({{"tap":"sky{}","mac":"{}","network":"{}","queues":1}})", k,
                       machine_mac(index, k), network);
}

MachineNet granted(const std::string& path, const std::string& interfaces,
                   const Config& config = config_of()) {
    return grant(Request::parse(request_text(path, interfaces)), registry_of(), config, {});
}

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

template <typename F>
std::string error_of(ExitCode code, F&& f) {
    try {
        static_cast<void>(f());
    } catch (const Error& e) {
        CHECK(static_cast<int>(e.code()) == static_cast<int>(code));
        return e.what();
    }
    FAIL("no error");
    return "";
}

} // namespace

TEST_CASE("net: subnets are read strictly", "[net]") {
    const Subnet s = Subnet::parse("10.88.1.0/24");
    CHECK(s.str() == "10.88.1.0/24");
    CHECK(s.gateway().str() == "10.88.1.1");
    CHECK(s.netmask() == "255.255.255.0");
    CHECK(s.contains(Ipv4::parse("10.88.1.255")));
    CHECK_FALSE(s.contains(Ipv4::parse("10.88.2.0")));
    CHECK(Subnet::parse("10.88.0.0/16").overlaps(s));
    CHECK(s.overlaps(Subnet::parse("0.0.0.0/0")));
    CHECK_FALSE(s.overlaps(Subnet::parse("10.88.2.0/24")));
    for (const char* bad : {"10.88.1.1/24", "10.88.1.0", "10.88.1.0/33", "10.88.1.0/", "/24",
                            "10.88.1.0/24 ", "10.88.1.0/+4", "010.88.1.0/24", "::/0", ""}) {
        CAPTURE(bad);
        CHECK_THROWS_AS(Subnet::parse(bad), Error);
    }
    CHECK(family_of_cidr("0.0.0.0/0") == 4);
    CHECK(family_of_cidr("::/0") == 6);
    CHECK(family_of_cidr("2001:db8::1") == 6);
    for (const char* bad : {"example.org", "1.2.3.4/33", "::/129", "1.2.3.4/0x8", "@set",
                            "1.2.3.4,", "fe80::1%eth0", "", "/"}) {
        CAPTURE(bad);
        CHECK(family_of_cidr(bad) == 0);
    }
}

TEST_CASE("net: link names are short and never the same for two things", "[net]") {
    const Network def = Network::parse("default");
    const Network back = Network::parse("back");
    std::set<std::string> names;
    std::size_t count = 0;
    // Prefixes that continue each other, indices at the edges.
    for (const std::string prefix : {"s", "sb", "st", "sbt", "sbbb", "stt"}) {
        std::vector<std::string> made;
        for (const std::uint32_t index : {1U, 2U, 11U, 111U, 65535U}) {
            made.push_back(bridge_name(prefix, def, index, Subnet::parse("10.88.1.0/24")));
            for (const std::size_t k : {0U, 1U, 3U}) {
                made.push_back(tap_name(prefix, index, k));
            }
            made.push_back(vxlan_name(prefix, index));
            made.push_back(switch_name(prefix, fmt::format("eth{}", index)));
        }
        for (const char* subnet : {"10.88.1.0/24", "255.255.255.252/30", "10.89.1.0/24"}) {
            made.push_back(bridge_name(prefix, back, 1, Subnet::parse(subnet)));
        }
        for (const std::string& name : made) {
            CAPTURE(name);
            CHECK(name.size() <= 15);
            CHECK(names.insert(name).second);
            CHECK(kind_of_link(name, prefix) != LinkKind::kNone);
            CHECK(is_any_bridge(name) == (kind_of_link(name, prefix) == LinkKind::kBridge));
            for (const std::string other : {"s", "sb", "st", "sbt", "sbbb", "stt", "sky"}) {
                CHECK((other == prefix || kind_of_link(name, other) == LinkKind::kNone));
            }
            ++count;
        }
    }
    CHECK(names.size() == count);
    for (const char* strange : {"sky", "skyb", "skyt1", "skyt1x", "skyb1x0", "skyb1 ", "skyt1x0a",
                                "eth0", "docker0", "br-0a1b", "virbr0-nic", ""}) {
        CAPTURE(strange);
        CHECK(kind_of_link(strange, "sky") == LinkKind::kNone);
    }
}

TEST_CASE("net: requests are read strictly", "[net]") {
    const Request r = Request::parse(request_text(
        "alice.infra.www", one(7) + "," + one(7, 1, "back"), R"(,"netns":"/proc/42/ns/net")"));
    CHECK(r.netns == 42);
    REQUIRE(r.interfaces);
    CHECK(r.interfaces->size() == 2);
    CHECK_FALSE(Request::parse(R"({"v":1,"tenant":"a","repo":"b","machine":"c"})").interfaces);
    for (const char* netns :
         {"/proc/self/ns/net", "/proc/1/ns/net/", "/proc/1/../2/ns/net", "/run/netns/x",
          "/proc/01/ns/net", "/proc//ns/net", "/proc/-1/ns/net", "/proc/99999999999/ns/net", ""}) {
        CAPTURE(netns);
        const std::string text =
            request_text("alice.infra.www", "", std::string(R"(,"netns":")") + netns + "\"");
        CHECK(
            has(error_of(ExitCode::kData, [&] { return Request::parse(text); }), "request.netns"));
    }
    const auto refused = [](const std::string& interface_text) {
        return error_of(ExitCode::kData, [&] {
            return Request::parse(request_text("alice.infra.www", interface_text));
        });
    };
    CHECK(has(refused(R"({"tap":"sky1","mac":"02:5f:00:00:00:07","network":"default","queues":1})"),
              "tap"));
    CHECK(has(refused(R"({"tap":"sky0","mac":"02:5F:00:00:00:07","network":"default","queues":1})"),
              "mac"));
    CHECK(has(refused(R"({"tap":"sky0","mac":"02:5f:00:00:00:07","network":"default","queues":0})"),
              "queues"));
    CHECK(has(
        refused(R"({"tap":"sky0","mac":"02:5f:00:00:00:07","network":"default","queues":1,"x":1})"),
        "x"));
    CHECK_THROWS_AS(
        Request::parse(request_text("alice.infra.www", one(7) + "," + one(7, 1) + "," + one(7, 2) +
                                                           "," + one(7, 3) + "," + one(7, 4))),
        Error);
}

TEST_CASE("net: only what the registry gave is granted", "[net]") {
    const MachineNet m = granted("alice.infra.www", one(7) + "," + one(7, 1, "back"));
    CHECK(m.index == 7);
    CHECK(m.owner == 2000028);
    REQUIRE(m.ports.size() == 2);
    CHECK(m.ports[0].outside == "skyt7x0");
    CHECK(m.ports[0].bridge == "skyb1");
    CHECK(m.ports[0].address.str() == "10.88.1.10");
    CHECK(m.ports[1].bridge == fmt::format("skyb{}", Ipv4::parse("10.89.1.0").value));
    CHECK(m.ports[1].mtu == 1400);

    CHECK(has(error_of(ExitCode::kRefused, [] { return granted("alice.infra.nix", one(7)); }),
              "no machine 'alice/infra/nix'"));
    CHECK(has(error_of(ExitCode::kRefused, [] { return granted("alice.infra.www", one(8)); }),
              "MAC"));
    CHECK(has(error_of(ExitCode::kRefused,
                       [] { return granted("bob.infra.www", one(65535, 0, "back")); }),
              "no network 'back'"));
    CHECK(has(error_of(ExitCode::kData,
                       [] { return granted("alice.infra.www", one(7) + "," + one(7, 1)); }),
              "second interface"));

    const MachineNet again = MachineNet::parse(m.dump(), "sky");
    CHECK(again.dump() == m.dump());
    CHECK(again.ports[1].outside == "skyt7x1");
    CHECK_THROWS_AS(MachineNet::parse(m.dump(), "skn"), Error); // another host's bridges
}

TEST_CASE("net: rules name each tap once, and nothing that was not validated", "[net]") {
    const std::vector<MachineNet> machines{
        granted("alice.infra.www", one(7) + "," + one(7, 1, "back")),
        granted("bob.infra.www", one(65535))};
    Config config = config_of();
    config.cluster = {"192.0.2.0/24", "2001:db8::/64"};
    const Plan plan = make_plan(config, machines);
    const std::string& text = plan.base;
    const auto set_line = [&](const std::string& name, const char* table = "table inet sky {") {
        const auto at = text.find("  set " + name + " ", text.find(table));
        REQUIRE(at != std::string::npos);
        return text.substr(at, text.find('\n', at) - at);
    };
    CHECK(set_line("guarded_uids") == "  set guarded_uids { type uid; flags interval; elements = { "
                                      "3001, 3002, 40000-49999, 2000000-2039999 }; }");
    CHECK(set_line("guests") == "  set guests { type ipv4_addr; flags interval; auto-merge; "
                                "elements = { 10.89.0.0/16, 10.88.0.0/16 }; }");
    CHECK(set_line("masqueraded") == "  set masqueraded { type ipv4_addr; flags interval; "
                                     "auto-merge; elements = { 10.88.0.0/16 }; }");
    CHECK(set_line("cluster4") == "  set cluster4 { type ipv4_addr; flags interval; auto-merge; "
                                  "elements = { 192.0.2.0/24 }; }");
    CHECK(set_line("cluster6") == "  set cluster6 { type ipv6_addr; flags interval; auto-merge; "
                                  "elements = { 2001:db8::/64 }; }");
    CHECK(set_line("egress6") == "  set egress6 { type ipv6_addr; flags interval; auto-merge; "
                                 "elements = { ::/0 }; }");
    CHECK(has(text, "table inet sky\ndelete table inet sky\ntable inet sky {"));
    CHECK(has(text, "table netdev sky\ndelete table netdev sky\ntable netdev sky {"));
    CHECK_FALSE(has(text, "skyt7x")); // ports are not in it, nor segments
    for (const Bridge& bridge : plan.bridges) {
        CHECK(has(plan.rules,
                  fmt::format("add element inet sky same_bridge {{ \"{0}\" . \"{0}\" }}\n",
                              bridge.name)));
    }
    const std::string guard = plan.guards_of({"skyt7x1"});
    const std::string head = "add chain netdev sky skyt7x1 {\n    type filter hook ingress device "
                             "\"skyt7x1\" priority -300; policy drop;\n";
    CHECK(guard.starts_with(head + "}\nflush chain netdev sky skyt7x1\n" + head));
    CHECK(has(plan.base, "\nadd chain inet sky " + plan.mark + "\n"));
    CHECK(plan.mark.starts_with("rules_"));
    CHECK(has(guard, "hook ingress device \"skyt7x1\" priority -300; policy drop;"));
    CHECK(has(guard, "== 0x000000000000025f010000070800 @nh,96,32 0x0a59010a @th"));
    CHECK(has(guard, "arp saddr ether 02:5f:01:00:00:07 arp saddr ip 10.89.1.10 accept"));
    CHECK_FALSE(has(guard, "0x86dd")); // it has no IPv6
}

TEST_CASE("net: a configuration that can not be guarded is refused by its key", "[net]") {
    const auto refused = [](const Config& config) {
        return error_of(ExitCode::kConfig, [&] { return make_plan(config, {}); });
    };
    Config config = config_of();
    config.cell.egress = {"0.0.0.0/0", "1.2.3.4 } ; flush ruleset"};
    CHECK(has(refused(config), "cell.egress"));
    config = config_of();
    config.cluster = {"10.0.0.0/33"};
    CHECK(has(refused(config), "cluster"));
    config = config_of();
    config.networks[Network::parse("third")].ipv4 = "10.88.7.0/24";
    CHECK(has(refused(config), "overlaps"));
    config.networks[Network::parse("third")].ipv4 = "10.90.0.1/24";
    CHECK(has(refused(config), "networks.third.ipv4"));
}

TEST_CASE("net: dnsmasq serves known machines, under names that are theirs alone", "[net]") {
    const Config config = config_of();
    const Plan plan = make_plan(
        config, {granted("alice.infra.www", one(7) + "," + one(7, 1, "back")),
                 granted("alice.other.www", one(8)), granted("alice.infra.a--b-", one(9))});
    REQUIRE(plan.bridges.size() == 2);
    const Bridge& first = plan.bridges[0];
    CHECK(first.name == "skyb1");
    CHECK(first.mac == "02:5e:0a:58:01:01");
    CHECK(render_dns_hosts(first) == "02:5f:00:00:00:07,10.88.1.10\n"
                                     "02:5f:00:00:00:08,10.88.1.11\n"
                                     "02:5f:00:00:00:09,10.88.1.12\n");
    CHECK(render_dns_names(first) == "10.88.1.10 www.infra\n"
                                     "10.88.1.11 www.other\n"
                                     "10.88.1.12 a--b-.infra a--b-\n");
    const Bridge& second = plan.bridges[1];
    CHECK(render_dns_names(second) == "10.89.1.10 www.infra www\n");
    const DnsFiles files("/var/lib/skyflake/net", second.name);
    CHECK(render_dns_conf(second, files, "dnsmasq", "nogroup") ==
          fmt::format(R"(# written by sky-net-setup, which overwrites it
user=dnsmasq
group=nogroup
pid-file=/var/lib/skyflake/net/{0}.pid
interface={0}
except-interface=lo
bind-interfaces
no-hosts
domain-needed
bogus-priv
addn-hosts=/var/lib/skyflake/net/{0}.names
no-resolv
server=192.0.2.53
server=2001:db8::53
dhcp-range=10.89.1.0,static,255.255.255.0,1h
dhcp-hostsfile=/var/lib/skyflake/net/{0}.hosts
dhcp-leasefile=/var/lib/skyflake/net/{0}.leases
dhcp-lease-max=65535
dhcp-ignore=tag:!known
dhcp-ignore-names
dhcp-authoritative
dhcp-option=option:mtu,1400
no-ping
quiet-dhcp
)",
                      second.name));

    Bridge odd = second;
    odd.dns = {"192.0.2.53#53@eth0"};
    CHECK_THROWS_AS(render_dns_conf(odd, files, "d", "d"), Error);
    CHECK_THROWS_AS(render_dns_conf(second, DnsFiles("/var/a #b", "x"), "d", "d"), Error);
}

namespace {

NetworkConfig vxlan_of(std::int64_t first, std::int64_t last) {
    NetworkConfig network;
    network.mode = Mode::kVxlan;
    network.ipv4 = "10.88.0.0/16";
    network.ipv6 = "fd88::/48";
    network.id_first = first;
    network.id_last = last;
    return network;
}

Config cluster_of(const NetworkConfig& network) {
    Config config = config_of();
    config.host = "n1";
    config.nodes = {{"n1", {"192.0.2.1"}}, {"n2", {"192.0.2.2"}}};
    config.networks[Network::parse("default")] = network;
    return config;
}

} // namespace

TEST_CASE("net: IPv6 addresses follow from MACs", "[net]") {
    CHECK(ipv6_subnet("fd88::/48", 7) == "fd88:0:0:7::");
    CHECK(ipv6_subnet("fd88::/64", 0) == "fd88::");
    CHECK_FALSE(ipv6_subnet("fd88::/64", 1));
    CHECK_FALSE(ipv6_subnet("fd88::/48", 65536));
    CHECK_THROWS_AS(ipv6_subnet("fd88::", 1), Error);
    CHECK(ipv6_address("fe80::", "02:5f:00:00:00:07") == "fe80::5f:ff:fe00:7");
    CHECK(ipv6_gateway("fd88:0:0:7::") == "fd88:0:0:7::1");
    CHECK(ipv6_hex("fe80::1") == "fe800000000000000000000000000001");
}

TEST_CASE("net: a segment has what its mode needs", "[net]") {
    const Network name = Network::parse("default");
    const auto granted_in = [&](const Config& config, const Facts& facts) {
        return grant(Request::parse(request_text("bob.infra.www", one(65535))), registry_of(),
                     config, facts);
    };
    const Facts facts{{name, 8950}};
    const Config config = cluster_of(vxlan_of(1000, 1001));
    const MachineNet m = granted_in(config, facts);
    CHECK(m.ports[0].id == 1001); // the tenant's index is 2
    CHECK(m.ports[0].mtu == 8950);
    CHECK(m.ports[0].ipv6 == "fd88:0:0:2::");
    CHECK(MachineNet::parse(m.dump(), "sky").dump() == m.dump());
    const Registry registry = registry_of();
    const Plan plan = make_plan(config, {m}, facts, &registry);
    REQUIRE(plan.bridges.size() == 1);
    CHECK(plan.bridges[0].uplink == "skyx1001");
    CHECK(plan.bridges[0].local == "192.0.2.1");
    CHECK(plan.bridges[0].peers == std::vector<std::string>{"192.0.2.2"});
    CHECK(plan.has_link("skyx1001"));
    CHECK(has(plan.base, "set nodes4 { type ipv4_addr; elements = { 192.0.2.1, 192.0.2.2 }; }"));
    CHECK(has(plan.base, "set vxlan_ports { type inet_service; elements = { 4789 }; }"));

    CHECK(has(error_of(ExitCode::kRefused,
                       [&] { return granted_in(cluster_of(vxlan_of(1000, 1000)), facts); }),
              "no VNI left in network 'default': 1000 to 1000 are taken"));
    CHECK(has(error_of(ExitCode::kConfig, [&] { return granted_in(config, {}); }),
              "host 'n1' has no link with its address in nodes"));
    NetworkConfig fat = vxlan_of(1000, 1001);
    fat.mtu = 9000;
    CHECK(has(error_of(ExitCode::kConfig, [&] { return granted_in(cluster_of(fat), facts); }),
              "9000 is more than host 'n1' carries: 8950"));
    NetworkConfig others = vxlan_of(1000, 1001);
    others.tenants = {Tenant::parse("alice")};
    CHECK(has(error_of(ExitCode::kRefused, [&] { return granted_in(cluster_of(others), facts); }),
              "no network 'default' for 'bob/infra/www'"));

    NetworkConfig routed;
    routed.mode = Mode::kRouted;
    routed.ipv4 = "10.88.0.0/16";
    const MachineNet alone = granted_in(cluster_of(routed), {});
    const Plan routes = make_plan(cluster_of(routed), {alone});
    CHECK(routes.bridges[0].switch_name().empty());
    CHECK(routes.rules == "add element inet sky same_group { 173539840 . 173539840 }\n"
                          "add element inet sky same_segment { 10.88.2.0/24 . 10.88.2.0/24 }\n"
                          "add element inet sky gateways { 10.88.2.0/24 . 10.88.2.1 }\n");
}

TEST_CASE("net: machines elsewhere have names where their segment reaches", "[net]") {
    const Facts facts{{Network::parse("default"), 1450}};
    const Registry registry = registry_of();
    NetworkConfig network = vxlan_of(1000, 1009);
    const auto names = [&](const Config& config, const Registry* known) {
        const MachineNet m =
            grant(Request::parse(request_text("alice.infra.www", one(7))), registry, config, facts);
        return render_dns_names(make_plan(config, {m}, facts, known).bridges[0]);
    };
    CHECK(names(cluster_of(network), &registry) == "10.88.1.10 www.infra\n"
                                                   "fd88::1:5f:ff:fe00:7 www.infra\n"
                                                   "10.88.1.12 a--b-.infra a--b-\n"
                                                   "10.88.1.11 www.other\n");
    CHECK(names(config_of(), &registry) == "10.88.1.10 www.infra www\n"); // a bridge of its own
}
