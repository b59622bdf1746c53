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
    CHECK(c.networks.at(Network::parse("default")).mtu == 1500);
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
    CHECK(with("/networks/default/mode", "vlan") == "networks.default.mode: expected \"bridge\"");
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
