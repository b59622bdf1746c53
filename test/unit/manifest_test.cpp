// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <sky-nomad-submit/manifest.hpp>
#include <sky/error.hpp>
#include <sky/json.hpp>

#include <nlohmann/json.hpp>

using namespace sky;
using sky::submit::Manifest;

namespace {

Json manifest_json() {
    const std::string hash(32, '0');
    return {
        {"v", 1},
        {"system", "x86_64-linux"},
        {"hypervisor", "qemu"},
        {"vcpu", 1},
        {"mem_mib", 512},
        {"machine_id", "01234567-89ab-4cde-8f01-23456789abcd"},
        {"runner", "/nix/store/" + hash + "-runner"},
        {"toplevel", "/nix/store/" + hash + "-nixos"},
        {"store", "virtiofs"},
        {"interfaces",
         {{{"id", "sky0"}, {"mac", "02:5f:00:00:00:07"}, {"network", "default"}, {"queues", 1}}}},
        {"volumes",
         {{{"name", "root"},
           {"size_mib", 2048},
           {"class", nullptr},
           {"mount", "/"},
           {"read_only", false}}}},
        {"ready", {{"type", "none"}}},
        {"on_poweroff", "stay"}};
}

std::string refusal(const Json& value) {
    try {
        static_cast<void>(Manifest::parse(dump_json(value)));
    } catch (const Error& e) {
        CHECK(e.code() == ExitCode::kData);
        return e.what();
    }
    return "accepted";
}

} // namespace

TEST_CASE("a manifest as the guest module writes it") {
    const auto manifest = Manifest::parse(dump_json(manifest_json()));
    CHECK(manifest.vcpu == 1);
    CHECK(manifest.volumes.at(0).mount == "/");
    CHECK_FALSE(manifest.volumes.at(0).storage_class);
    CHECK(manifest.toplevel);
    CHECK(manifest.on_poweroff == Spec::OnPoweroff::kStay);
    Json bare = manifest_json();
    bare["toplevel"] = nullptr;
    bare["interfaces"] = Json::array();
    bare["volumes"] = Json::array();
    CHECK_FALSE(Manifest::parse(dump_json(bare)).toplevel);
    Json disk = manifest_json();
    disk["volumes"][0]["mount"] = nullptr;
    CHECK_FALSE(Manifest::parse(dump_json(disk)).volumes.at(0).mount);
}

TEST_CASE("a manifest with a key too many, too few or of another type names the key") {
    const Json whole = manifest_json();
    for (const auto& [key, value] : whole.items()) {
        Json wrong = manifest_json();
        wrong[key] = Json::array({Json::object()});
        INFO(key);
        CHECK_THAT(refusal(wrong), ContainsSubstring("manifest." + key));
        if (key != "toplevel") {
            Json less = manifest_json();
            less.erase(key);
            CHECK(refusal(less) == "manifest." + key + ": missing");
        }
    }
    Json more = manifest_json();
    more["volumes"][0]["image"] = "/dev/sda";
    CHECK(refusal(more) == "manifest.volumes[0].image: unknown key");
}

TEST_CASE("a manifest's names, sizes and paths are checked") {
    const auto with = [](const char* pointer, const Json& value) {
        Json out = manifest_json();
        out[Json::json_pointer(pointer)] = value;
        return refusal(out);
    };
    CHECK_THAT(with("/volumes/0/name", "../root"), ContainsSubstring("volumes[0].name"));
    CHECK_THAT(with("/volumes/0/size_mib", 0), ContainsSubstring("volumes[0].size_mib"));
    CHECK_THAT(with("/volumes/0/mount", "var"), ContainsSubstring("volumes[0].mount"));
    CHECK_THAT(with("/volumes/0/class", "a b"), ContainsSubstring("volumes[0].class"));
    CHECK_THAT(with("/interfaces/0/id", "eth0"), ContainsSubstring("interfaces[0].id"));
    CHECK_THAT(with("/interfaces/0/network", ""), ContainsSubstring("interfaces[0].network"));
    CHECK_THAT(with("/interfaces/0/queues", 65), ContainsSubstring("interfaces[0].queues"));
    CHECK_THAT(with("/runner", "/bin/sh"), ContainsSubstring("manifest.runner"));
    CHECK_THAT(with("/ready/type", "http"), ContainsSubstring("manifest.ready.type"));
    CHECK_THAT(with("/vcpu", "SECRET"), !ContainsSubstring("SECRET"));
    CHECK_THAT(with("/v", 2), ContainsSubstring("manifest.v"));
}

TEST_CASE("a manifest asks for a handful of disks and interfaces, each once") {
    Json many = manifest_json();
    for (int i = 0; i < 16; ++i) {
        many["volumes"].push_back(many["volumes"][0]);
        many["volumes"].back()["name"] = "data-" + std::to_string(i);
    }
    CHECK_THAT(refusal(many), ContainsSubstring("at most 16"));
    Json twice = manifest_json();
    twice["volumes"].push_back(twice["volumes"][0]);
    CHECK_THAT(refusal(twice), ContainsSubstring("volumes[1].name: stands there twice"));
}
