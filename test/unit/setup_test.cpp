// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include "sky-shell/keys.hpp"
#include "sky-shell/tenant-end.hpp"

#include <sky-vm-run/doctor.hpp>
#include <sky-vm-run/host-plan.hpp>

#include <sky/error.hpp>
#include <sky/tenants.hpp>

#include <algorithm>

using namespace sky;

namespace {

Config some_config(const std::string& more = "") {
    return parse_config(R"({"v":1,"host":"n1","storage":"00112233445566778899aabbccddeeff",
        "networks":{"default":{"ipv4":"10.88.0.0/16"}},"tenants":{"alice":{"uid":3001}})" +
                            more + "}",
                        "/etc/skyflake/config.json");
}

constexpr const char* kKey =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPb5NvoMbCv3HhPYOAd9hSSxDjMmVv0gZ3y5mXqLrKfN";

} // namespace

TEST_CASE("what makes a host", "[setup]") {
    const auto plan = vm::plan_host(some_config());
    CHECK(plan.group == "skyflake-tenants");
    REQUIRE(plan.accounts.size() == 4);
    CHECK(plan.accounts.back().name == "alice");
    CHECK(plan.accounts.back().uid == 3001);
    CHECK(plan.accounts.back().tenant);
    for (const auto& file : plan.files) {
        CHECK(file.text.rfind(vm::kMadeHere, 0) == 0);
    }
    CHECK(std::none_of(plan.units.begin(), plan.units.end(), [](const auto& unit) {
        return unit.path.filename() == "sky-lease.service";
    }));
    const auto cluster =
        vm::plan_host(some_config(R"(,"nomad":{"addresses":["https://n1:4646"]})"));
    CHECK(std::count(cluster.enabled.begin(), cluster.enabled.end(), "sky-lease.service") == 1);
    const auto retries = [](const vm::HostPlan& of) {
        return std::count_if(of.files.begin(), of.files.end(), [](const auto& file) {
            return file.path == "/etc/sysctl.d/60-sky-skyflake.conf" &&
                   file.text.find("\nnet.ipv4.tcp_retries2 = 8\n") != std::string::npos;
        });
    };
    CHECK(retries(plan) == 0);
    CHECK(retries(cluster) == 1);
    const auto backup = [](const vm::HostPlan& of) {
        const auto at = std::find_if(of.units.begin(), of.units.end(), [](const auto& unit) {
            return unit.path.filename() == "sky-backup.service";
        });
        const auto from = at->text.find("ExecStart=");
        return at->text.substr(from, at->text.find('\n', from) - from);
    };
    const std::string call =
        "ExecStart=/usr/libexec/skyflake/backup /etc/skyflake/config.json ${TO} ${KEEP}";
    CHECK(backup(plan) == call);
    CHECK(backup(cluster) == call + " /etc/skyflake/nomad-backup.token");
    // What an operator may want is there, and nothing of it runs unasked.
    CHECK(plan.offered == std::vector<std::string>{"sky-backup.timer", "sky-metrics.timer"});
    for (const auto& each : plan.offered) {
        CHECK(std::count(plan.enabled.begin(), plan.enabled.end(), each) == 0);
    }
}

TEST_CASE("a host that shares its storage by network does not wait for it before the network",
          "[setup]") {
    const auto early = [](const Config& config) {
        return vm::plan_host(config).units.at(0).text.find("Before=network-pre.target") !=
               std::string::npos;
    };
    CHECK(early(some_config()));
    CHECK_FALSE(early(some_config(R"(,"shared":"/srv/skyflake")")));
}

TEST_CASE("what is left of a tenant: volumes that the registry knows, wherever they lie",
          "[setup]") {
    Registry registry;
    registry.machines["alice.infra.www"].volumes["root"].storage_class = "ceph";
    registry.kept["alice.infra.db"]["data"].host = "n2";
    registry.kept["bob.infra.db"]["data"].storage_class = "ceph";
    CHECK(shell::volumes_of(registry, Tenant::parse("alice")) ==
          std::set<std::string>{"infra/db/data", "infra/www/root"});
}

TEST_CASE("sudo's rules fix whole command lines", "[setup]") {
    const auto text = vm::sudoers_text(some_config());
    CHECK(text.find('*') == std::string::npos);
    CHECK(text.find("%skyflake-tenants ALL=(skyflake-cache) NOPASSWD: \\\n    "
                    "/usr/bin/sky-cache-push --config /etc/skyflake/config.json missing, ") !=
          std::string::npos);
    CHECK(text.find("skyflake-deploy ALL=(root) NOPASSWD: \\\n    /usr/bin/sky-vm-run --config "
                    "/etc/skyflake/config.json register, ") != std::string::npos);
    CHECK(text.find_first_of("{}") == std::string::npos);
    CHECK(text.find("%skyflake-tenants ALL=(root)") == std::string::npos);
}

TEST_CASE("the configuration of a new host is one that the tools take", "[setup]") {
    const auto text = vm::first_config({.host = "n1",
                                        .bin = "/usr/local/bin",
                                        .data = "/usr/local/share/skyflake",
                                        .virtiofsd = "/usr/libexec/virtiofsd",
                                        .inputs = {{"nixpkgs", "/srv/nixpkgs"}},
                                        .storage = "00112233445566778899aabbccddeeff"});
    const auto config = parse_config(text, "/etc/skyflake/config.json");
    CHECK(config.bin == "/usr/local/bin");
    CHECK(config.cell.inputs.at("nixpkgs") == "/srv/nixpkgs");
    CHECK(config.accounts.dns == "skyflake-dns");
}

TEST_CASE("tenants beside those of the configuration", "[setup]") {
    Tenants tenants;
    tenants.next_uid = 40002;
    tenants.added[Tenant::parse("bob")] = {
        .uid = 40001, .quota = {}, .added = true, .suspended = {}};
    tenants.suspended[Tenant::parse("alice")] = "the bill of May";
    const auto again = Tenants::parse(tenants.dump());
    CHECK(again.dump() == tenants.dump());
    auto config = some_config();
    add_tenants(config, again);
    CHECK(config.tenant_of(40001) == Tenant::parse("bob"));
    CHECK(config.tenant(Tenant::parse("alice")).suspended == "the bill of May");
    CHECK_FALSE(config.tenant(Tenant::parse("bob")).suspended);

    SECTION("a uid outside of tenant_uids, or somebody's") {
        for (const uid_t uid : {0U, 3001U, 39999U, 50000U, 2000000U}) {
            Tenants wrong;
            wrong.added[Tenant::parse("carol")].uid = uid;
            auto other = some_config();
            CHECK_THROWS_AS(add_tenants(other, wrong), Error);
        }
        Tenants twice;
        twice.added[Tenant::parse("carol")].uid = 40001;
        CHECK_THROWS_AS(add_tenants(config, twice), Error);
    }
    SECTION("a name that the configuration has, too: that one counts") {
        Tenants other;
        other.added[Tenant::parse("alice")].uid = 40005;
        add_tenants(config, other);
        CHECK(config.tenant(Tenant::parse("alice")).uid == 3001);
    }
    SECTION("strictly") {
        for (const char* text :
             {"", "{}", R"({"v":2,"next_uid":0,"tenants":{},"suspended":{}})",
              R"({"v":1,"next_uid":0,"tenants":{"Bob":{"uid":40001,"quota":{}}},"suspended":{}})",
              R"({"v":1,"next_uid":0,"tenants":{"bob":{"uid":40001}},"suspended":{}})",
              R"({"v":1,"next_uid":0,"tenants":{},"suspended":{"bob":1}})",
              R"({"v":1,"next_uid":0,"tenants":{},"suspended":{},"more":1})"}) {
            CHECK_THROWS_AS(Tenants::parse(text), Error);
        }
    }
    CHECK_THROWS_AS(some_config(R"(,"machine_uids":{"first":45000,"count":40000})"), Error);
}

TEST_CASE("public keys", "[setup]") {
    const auto key = shell::parse_public_key(std::string(kKey) + " alice@laptop\n", "laptop");
    CHECK(key.type == "ssh-ed25519");
    std::vector<shell::NamedKey> keys;
    shell::add_key(keys, key);
    CHECK(shell::keys_text(keys) == "restrict " + std::string(kKey) + " laptop\n");
    CHECK(shell::parse_keys(shell::keys_text(keys)) == keys);
    CHECK_THROWS_AS(shell::add_key(keys, key), Error);
    CHECK_THROWS_AS(shell::remove_key(keys, "other"), Error);
    for (const std::string& bad :
         {std::string(), std::string("ssh-ed25519"), std::string("ssh-ed25519 AAAA"),
          "command=\"sh\" " + std::string(kKey), std::string(kKey) + "\n" + kKey,
          std::string(kKey) + "=", "ssh-rsa " + std::string(kKey).substr(12)}) {
        CAPTURE(bad);
        CHECK_THROWS_AS(shell::parse_public_key(bad, "laptop"), Error);
    }
    for (const char* name : {"", "a b", "-x", "a\nb", "a\"b"}) {
        CHECK_THROWS_AS(shell::parse_public_key(kKey, name), Error);
    }
    CHECK_THROWS_AS(shell::parse_keys(std::string(kKey) + " laptop\n"), Error);
}

TEST_CASE("what the doctor reads", "[setup]") {
    CHECK(vm::version_in("git version 2.39.5\n") == std::vector<int>{2, 39, 5});
    CHECK(vm::version_in("bubblewrap 0.8.0") == std::vector<int>{0, 8, 0});
    CHECK(vm::version_in("Dnsmasq version 2.90  Copyright (c) 2000-2024") ==
          std::vector<int>{2, 90});
    CHECK(vm::version_in("1.10.2-beta.1+ent") == std::vector<int>{1, 10, 2});
    CHECK(vm::version_in("no number 7 here.").empty());
    CHECK(vm::version_in("").empty());

    const auto config = some_config();
    const std::string good = "port 22\nforcecommand /usr/bin/sky-shell\npermittty no\n"
                             "disableforwarding yes\npermituserrc no\nexposeauthinfo yes\n"
                             "passwordauthentication no\n";
    CHECK(vm::missing_in_sshd(config, good).empty());
    auto bad = good;
    bad.replace(bad.find("permittty no"), 12, "permittty yes");
    CHECK(vm::missing_in_sshd(config, bad) == std::vector<std::string>{"permittty no"});
}
