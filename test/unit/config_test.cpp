// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <sky/config.hpp>
#include <sky/error.hpp>
#include <sky/json.hpp>

#include <nlohmann/json.hpp>

using namespace sky;

namespace {

Json good() {
    return parse_json(R"({"v":1,"host":"n1","storage":"0123456789abcdef0123456789abcdef",
        "tenants":{"alice":{"uid":3001,"quota":{"machines":2}},"bob":{"uid":3002}},
        "networks":{"default":{"ipv4":"10.88.0.0/16"}}})",
                      4096, "it");
}

std::string refusal(const Json& value) {
    try {
        static_cast<void>(parse_config(dump_json(value), "/c.json"));
    } catch (const Error& e) {
        CHECK(e.code() == ExitCode::kConfig);
        return e.what();
    }
    return "accepted";
}

} // namespace

TEST_CASE("a configuration of the least keys has the documented defaults") {
    const Config c = parse_config(dump_json(good()), "/c.json");
    CHECK(c.state == "/var/lib/skyflake");
    CHECK(c.prefix == "sky");
    CHECK(c.machine.root_mib == 2048);
    CHECK(c.tenants.at(Tenant::parse("alice")).quota.machines == 2);
    CHECK(c.tenants.at(Tenant::parse("alice")).quota.vcpu == 16);
    CHECK(c.networks.at(Network::parse("default")).mode == NetworkConfig::Mode::kBridge);
    CHECK_FALSE(c.networks.at(Network::parse("default")).mtu);
    CHECK(c.networks.at(Network::parse("default")).open_to(Tenant::parse("bob")));
    CHECK(c.tenant_of(3002)->str() == "bob");
    CHECK_FALSE(c.tenant_of(3003));
    CHECK_THROWS_AS(c.tenant(Tenant::parse("carol")), Error);
}

TEST_CASE("every mistake in a configuration is named with its path") {
    const auto with = [](const char* pointer, const Json& value) {
        Json config = good();
        config[Json::json_pointer(pointer)] = value;
        return refusal(config);
    };
    CHECK(with("/zzz", 1) == "zzz: unknown key");
    CHECK(with("/networks/default/mtuu", 1) == "networks.default.mtuu: unknown key");
    CHECK(with("/networks/default/mtu", 70000) ==
          "networks.default.mtu: expected a whole number from 576 to 65521");
    CHECK(with("/networks/default/mode", "mesh") ==
          "networks.default.mode: expected \"bridge\", \"vlan\", \"vxlan\" or \"routed\"");
    CHECK(with("/tenants/alice/quota/machines", "two") ==
          "tenants.alice.quota.machines: expected a whole number from 0 to 100000");
    CHECK(with("/tenants/bob/uid", 3001) == "tenants.bob.uid: another tenant has it");
    CHECK(with("/tenants/bob/uid", 2000004) == "tenants.bob.uid: lies in machine_uids");
    CHECK(with("/tenants/Bob", Json::object({{"uid", 3003}})) ==
          "tenants.Bob: not a name (use a-z 0-9 -, start with a letter)");
    CHECK(with("/prefix", "toolong") == "prefix: expected 1 to 4 letters a-z");
    CHECK(with("/state", "var") == "state: expected an absolute path");
    CHECK(with("/storage", "x") ==
          "storage: expected 32 hex digits (sky-vm-run storage init prints them)");
    CHECK(with("/nomad", {{"addresses", {"http://n1:4646"}}, {"spare", "maybe"}}) ==
          "nomad.spare: expected \"warn\" or \"refuse\"");
    CHECK(with("/nomad",
               {{"addresses", {"http://n1:4646"}},
                {"placements",
                 {{"x",
                   {{"affinities", {{{"attribute", "a"}, {"value", "b"}, {"weight", 0}}}}}}}}}) ==
          "nomad.placements.x.affinities[0].weight: expected -100 to 100, not 0");
    CHECK(with("/tenants/bob/placement", {{"may_ask", {"x"}}}) ==
          "tenants.bob.placement: not one of nomad.placements");
    CHECK(with("/v", 2) == "v: expected a whole number from 1 to 1");
    CHECK(refusal(Json::array()) == ": expected an object");
}

TEST_CASE("a fenced class says where its images are, and no other does") {
    const auto parsed = [](const char* text) {
        Json config = good();
        config["volumes"] = {{"default", "it"}, {"classes", {{"it", parse_json(text, 512, "it")}}}};
        return parse_config(dump_json(config), "/c.json").volumes.classes.at("it");
    };
    const auto wrong = [](const char* text) {
        Json config = good();
        config["volumes"] = {{"default", "it"}, {"classes", {{"it", parse_json(text, 512, "it")}}}};
        return refusal(config);
    };
    const auto least = parsed(R"({"kind":"fenced","pool":"vm.ssd"})");
    CHECK(least.kind == VolumeClass::Kind::kFenced);
    CHECK(least.driver == VolumeClass::Driver::kCeph);
    CHECK(least.pool == "vm.ssd");
    CHECK(least.user == "skyflake");
    CHECK(least.conf == "/etc/ceph/ceph.conf");
    const auto all = parsed(R"({"kind":"fenced","driver":"ceph","pool":"p","user":"sky-hosts",
                                "conf":"/c/ceph.conf","keyring":"/c/key"})");
    CHECK(all.user == "sky-hosts");
    CHECK(all.conf == "/c/ceph.conf");
    CHECK(all.keyring == "/c/key");
    CHECK(parsed(R"({"kind":"leased","driver":"directory","wait_s":3})").wait_s == 3);
    CHECK(wrong(R"({"kind":"fenced"})") ==
          "volumes.classes.it.pool: expected 1 to 64 of a-z A-Z 0-9 - _ .");
    CHECK(wrong(R"({"kind":"fenced","pool":"-x"})").find("classes.it.pool: ") != std::string::npos);
    CHECK(wrong(R"({"kind":"fenced","pool":"a/b"})").find(".pool: ") != std::string::npos);
    CHECK(wrong(R"({"kind":"fenced","pool":"p","keyring":"key"})") ==
          "volumes.classes.it.keyring: expected an absolute path");
    CHECK(wrong(R"({"kind":"fenced","pool":"p","driver":"directory"})") ==
          "volumes.classes.it.driver: expected \"ceph\" (the one that fences)");
    CHECK(wrong(R"({"kind":"local","driver":"ceph"})") ==
          "volumes.classes.it.driver: expected \"directory\"");
    CHECK(wrong(R"({"kind":"local","pool":"p"})") == "volumes.classes.it.pool: unknown key");
    CHECK(wrong(R"({"kind":"fenced","pool":"p","wait_s":3})") ==
          "volumes.classes.it.wait_s: unknown key");
    CHECK(wrong(R"({"kind":"shared"})") ==
          "volumes.classes.it.kind: expected \"local\", \"leased\" or \"fenced\"");
}

TEST_CASE("networks: each mode has what it needs, and nothing else") {
    const auto with = [](const char* network, const char* nodes = "{}") {
        Json config = good();
        config["networks"]["default"].update(parse_json(network, 4096, "network"));
        config["nodes"] = parse_json(nodes, 4096, "nodes");
        return refusal(config);
    };
    const char* nodes = R"({"n1":{"address":"192.0.2.1"},"n2":{"address":"192.0.2.2"}})";
    CHECK(with(R"({"mode":"vxlan","ids":{"first":100,"last":199}})", nodes) == "accepted");
    CHECK(
        with(
            R"({"mode":"vlan","ids":{"first":100,"last":199},"uplink":"eth1","dhcp":"operator"})") ==
        "accepted");
    CHECK(with(R"({"mode":"routed","ipv6":"fd00:88::/48","masquerade":false})") == "accepted");
    CHECK(with(R"({"shared":true,"uplink":"tap0","tenants":["alice"],"mtu":null})") == "accepted");
    CHECK(with(R"({"mode":"vxlan","ids":{"first":100,"last":199}})") ==
          "networks.default.mode: vxlan needs 'n1' in nodes");
    CHECK(with(R"({"mode":"vxlan"})", nodes) == "networks.default.ids: missing");
    CHECK(with(R"({"mode":"vlan","uplink":"eth1","ids":{"first":4000,"last":5000}})") ==
          "networks.default.ids.last: expected a whole number from 4000 to 4094");
    CHECK(with(R"({"mode":"vlan","ids":{"first":1,"last":2}})") ==
          "networks.default.uplink: missing");
    for (const char* bad : {"eth1;", "a b", "", "-x", "abcdefghijklmnop"}) {
        CHECK(with((R"({"mode":"vlan","ids":{"first":1,"last":2},"uplink":")" + std::string(bad) +
                    "\"}")
                       .c_str()) == "networks.default.uplink: expected the name of a link");
    }
    CHECK(with(R"({"ids":{"first":1,"last":2}})") ==
          "networks.default.ids: expected mode \"vlan\" or \"vxlan\" beside it");
    CHECK(with(R"({"port":4789})") == "networks.default.port: expected mode \"vxlan\" beside it");
    CHECK(with(R"({"uplink":"eth1"})") ==
          "networks.default.uplink: expected mode \"vlan\", or \"bridge\" and shared, beside it");
    CHECK(with(R"({"dhcp":"operator"})") ==
          "networks.default.dhcp: expected an uplink beside \"operator\"");
    CHECK(with(R"({"tenants":["carol"]})") == "accepted"); // who may be added later
    CHECK(with(R"({"tenants":["alice","Carol!"]})") ==
          "networks.default.tenants[1]: expected the name of a tenant");
    CHECK(with(R"({"tenants":[1]})") ==
          "networks.default.tenants[0]: expected the name of a tenant");
    for (const char* bad : {"fd00::/65", "fd00::1/64", "10.0.0.0/16", "fd00::", "fd00::/8"}) {
        CHECK(with((R"({"ipv6":")" + std::string(bad) + "\"}").c_str()) ==
              "networks.default.ipv6: expected an IPv6 network of /16 to /64");
    }
    CHECK(with(R"({"ipv6":"fd00::/64","mtu":1279})") ==
          "networks.default.mtu: expected a whole number from 1280 to 65521");
    CHECK(with("{}", R"({"n1":{"address":"192.0.2.1"},"n2":{"address":"2001:db8::1"}})") ==
          "nodes.n2.address: expected an IPv4 or an IPv6 address, the same of all nodes");
    CHECK(with("{}", R"({"n1":{"address":"192.0.2.1"},"n2":{"address":"192.0.2.1"}})") ==
          "nodes.n2.address: another node has it");
    Json two = good();
    two["nodes"] = parse_json(nodes, 4096, "nodes");
    two["networks"]["default"].update(
        parse_json(R"({"mode":"vxlan","ids":{"first":100,"last":199}})", 4096, "network"));
    two["networks"]["more"] = two["networks"]["default"];
    CHECK(refusal(two) == "networks.more.ids: overlap with those of 'default'");
    two["networks"]["more"]["ids"]["first"] = 200;
    two["networks"]["more"]["ids"]["last"] = 299;
    CHECK(refusal(two) == "accepted");
}
