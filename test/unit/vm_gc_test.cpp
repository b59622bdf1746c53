// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <sky-vm-run/gc.hpp>
#include <sky/error.hpp>

using namespace sky;
using namespace sky::vm;

namespace {

constexpr std::int64_t kDay = 24 * 3600;

Registry::Disk disk(std::int64_t since) {
    return {.storage_class = "local", .size_mib = 10, .kept_since = since};
}

} // namespace

TEST_CASE("kept volumes expire when their time is over, one tenant's", "[vm]") {
    Registry registry;
    registry.kept["alice.infra.old"] = {{"root", disk(kDay)}, {"data", disk(9 * kDay)}};
    registry.kept["bob.infra.old"] = {{"root", disk(kDay)}};
    const Registry before = registry;
    const auto alice = Tenant::parse("alice");
    CHECK(expired_volumes(registry, alice, 11 * kDay - 1, 10 * kDay).empty());
    CHECK(expired_volumes(registry, alice, 11 * kDay, 10 * kDay) ==
          std::vector<KeptVolume>{{.machine = MachinePath::parse_joined("alice.infra.old"),
                                   .name = Volume::parse("root"),
                                   .storage_class = "local",
                                   .size_mib = 10}});
    CHECK(expired_volumes(registry, alice, 11 * kDay, 0).size() == 2);
    CHECK(registry == before);
}

TEST_CASE("a kept volume that does not say since when counts from now on", "[vm]") {
    Registry registry;
    registry.kept["alice.infra.old"] = {{"root", disk(0)}};
    CHECK(expired_volumes(registry, Tenant::parse("alice"), 100 * kDay, kDay).empty());
    CHECK(registry.kept.at("alice.infra.old").at("root").kept_since == 100 * kDay);
    CHECK(expired_volumes(registry, Tenant::parse("alice"), 101 * kDay, kDay).size() == 1);
}

TEST_CASE("an outline says what a start would do, in the order in which it does it", "[vm]") {
    auto spec =
        Spec{.path = MachinePath::parse_joined("alice.infra.www"),
             .rev = Revision::parse(std::string(40, '1')),
             .deployment = StorePath::parse("/nix/store/00000000000000000000000000000001-x"),
             .nar_hash = "sha256:0000000000000000000000000000000000000000000000000000",
             .runner = StorePath::parse("/nix/store/00000000000000000000000000000001-x"),
             .hypervisor = "qemu",
             .mem_mib = 512,
             .machine_id = "01234567-89ab-4cde-8f01-23456789abcd",
             .interfaces = {},
             .volumes = {{.name = Volume::parse("root"), .storage_class = "local", .size_mib = 20}},
             .ready = {}};
    const Glance nothing{.wanted = false, .pid = 0, .running = std::nullopt, .lacking = 2};
    CHECK(outline_start(spec, nothing, {}) == Outline{"fetch 2 store paths into store/alice",
                                                      "make volume root, 20 MiB",
                                                      "start it: qemu, 1 vcpu, 512 MiB"});
    Glance runs{.wanted = true, .pid = 7, .running = spec, .lacking = 0};
    CHECK(outline_start(spec, runs, {}) == Outline{"do nothing: it runs this system"});
    spec.mem_mib = 1024;
    CHECK(outline_start(spec, runs, {{"root", {.storage_class = "local", .size_mib = 10}}}) ==
          Outline{"shut down what runs (pid 7), within 30 s", "grow volume root from 10 to 20 MiB",
                  "start it: qemu, 1 vcpu, 1024 MiB"});
    CHECK(outline_stop(runs) == Outline{"shut it down (pid 7), within 30 s"});
    CHECK(outline_stop({.wanted = true, .pid = 0, .running = std::nullopt, .lacking = 0}) ==
          Outline{"stop trying to start it"});
    CHECK(outline_stop({}) == Outline{"do nothing: it does not run"});
}
