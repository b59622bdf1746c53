// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <sky/error.hpp>
#include <sky/json.hpp>
#include <sky/spec.hpp>

#include <nlohmann/json.hpp>

using namespace sky;

namespace {

const std::string kHash(32, '0');

Json spec_json() {
    return {
        {"v", 1},
        {"tenant", "alice"},
        {"repo", "infra"},
        {"machine", "www"},
        {"rev", std::string(40, 'a')},
        {"deployment", "/nix/store/" + kHash + "-skyflake-www"},
        {"nar_hash", "sha256:" + std::string(52, '0')},
        {"runner", "/nix/store/" + kHash + "-runner"},
        {"hypervisor", "qemu"},
        {"store", "virtiofs"},
        {"vcpu", 2},
        {"mem_mib", 512},
        {"machine_id", "01234567-89ab-4cde-8f01-23456789abcd"},
        {"interfaces",
         {{{"tap", "sky0"}, {"mac", "02:5f:00:00:00:07"}, {"network", "default"}, {"queues", 1}}}},
        {"volumes",
         {{{"name", "root"}, {"class", "local"}, {"size_mib", 2048}, {"read_only", false}}}},
        {"ready", {{"type", "tcp"}, {"port", 80}}},
        {"on_poweroff", "restart"},
        {"ready_s", 90},
        {"stop_s", 30}};
}

std::string refusal(const Json& value) {
    try {
        static_cast<void>(Spec::parse(dump_json(value)));
    } catch (const Error& e) {
        CHECK(e.code() == ExitCode::kData);
        return e.what();
    }
    return "accepted";
}

} // namespace

TEST_CASE("a spec survives being written and read") {
    const Spec spec = Spec::parse(dump_json(spec_json()));
    CHECK(Spec::parse(spec.dump()) == spec);
    CHECK(spec.dump() == dump_json(spec_json()));
    CHECK(spec.ready.port == 80);
}

TEST_CASE("the revision is not part of a spec's hash, everything else is") {
    const Spec spec = Spec::parse(dump_json(spec_json()));
    CHECK(spec.hash().size() == 64);
    Json other = spec_json();
    other["rev"] = std::string(40, 'b');
    CHECK(Spec::parse(dump_json(other)).hash() == spec.hash());

    const Json changes = {{"deployment", "/nix/store/" + kHash + "-skyflake-db"},
                          {"runner", "/nix/store/" + kHash + "-other"},
                          {"nar_hash", "sha256:1" + std::string(51, '0')},
                          {"machine", "db"},
                          {"vcpu", 3},
                          {"mem_mib", 513},
                          {"store", "disk"},
                          {"on_poweroff", "stay"},
                          {"ready", {{"type", "none"}}},
                          {"interfaces", Json::array()},
                          {"volumes", Json::array()},
                          {"ready_s", 91},
                          {"stop_s", 31}};
    Json notifies = spec_json();
    notifies["ready"] = {{"type", "notify"}};
    CHECK(Spec::parse(dump_json(notifies)).ready.type == Spec::Ready::Type::kNotify);
    CHECK(Spec::parse(Spec::parse(dump_json(notifies)).dump()) == Spec::parse(dump_json(notifies)));
    CHECK(Spec::parse(dump_json(notifies)).hash() != spec.hash());
    for (const auto& [key, value] : changes.items()) {
        Json changed = spec_json();
        changed[key] = value;
        INFO(key);
        CHECK(Spec::parse(dump_json(changed)).hash() != spec.hash());
    }
}

TEST_CASE("each key of a spec is needed, and no other is allowed") {
    const Json whole = spec_json();
    for (const auto& [key, value] : whole.items()) {
        Json less = whole;
        less.erase(key);
        INFO(key);
        CHECK_THAT(refusal(less), ContainsSubstring(key));
        Json wrong = whole;
        wrong[key] = Json::array({Json::object()});
        CHECK_THAT(refusal(wrong), ContainsSubstring(key));
    }
    Json more = whole;
    more["cmdline"] = "secret";
    CHECK(refusal(more) == "cmdline: unknown key");
    Json deep = whole;
    deep["volumes"][0]["path"] = "/etc/shadow";
    CHECK(refusal(deep) == "volumes[0].path: unknown key");
}

TEST_CASE("a spec refuses what does not fit, naming the key and never the value") {
    const auto with = [](const char* pointer, const Json& value) {
        Json out = spec_json();
        out[Json::json_pointer(pointer)] = value;
        return refusal(out);
    };
    CHECK_THAT(with("/machine", "../../etc"), ContainsSubstring("machine: expected"));
    CHECK_THAT(with("/runner", "/nix/store/../../bin/sh"), ContainsSubstring("runner: expected"));
    CHECK_THAT(with("/vcpu", 0), ContainsSubstring("vcpu: expected"));
    CHECK_THAT(with("/vcpu", 1.5), ContainsSubstring("vcpu: expected"));
    CHECK_THAT(with("/mem_mib", -1), ContainsSubstring("mem_mib: expected"));
    CHECK_THAT(with("/mem_mib", UINT64_MAX), ContainsSubstring("mem_mib: expected"));
    CHECK_THAT(with("/interfaces/0/tap", "sky1"), ContainsSubstring("interfaces[0].tap"));
    CHECK_THAT(with("/interfaces/0/mac", "02:5F:00:00:00:07"), ContainsSubstring("mac"));
    CHECK_THAT(with("/volumes/0/class", "../ceph"), ContainsSubstring("volumes[0].class"));
    CHECK_THAT(with("/ready/port", 65536), ContainsSubstring("ready.port"));
    CHECK_THAT(with("/machine_id", "x"), ContainsSubstring("machine_id"));
    CHECK(with("/hypervisor", "/bin/sh-SECRET").find("SECRET") == std::string::npos);
}

TEST_CASE("names and MACs of a spec stand there once") {
    Json twice = spec_json();
    twice["volumes"].push_back(twice["volumes"][0]);
    CHECK(refusal(twice) == "volumes[1].name: stands there twice");
    Json macs = spec_json();
    macs["interfaces"].push_back(macs["interfaces"][0]);
    macs["interfaces"][1]["tap"] = "sky1";
    CHECK(refusal(macs) == "interfaces[1].mac: stands there twice");
    CHECK_THROWS_WITH(Spec::parse(R"({"v":1,"v":1})"), ContainsSubstring("'v' stands there twice"));
}
