// SPDX-License-Identifier: MIT
// What hosts that are a version apart hand to each other: doc/interfaces.md, "Hosts of two
// versions".
#include "catch.hpp"

#include <sky-nomad-submit/machine-record.hpp>
#include <sky-nomad-submit/scheduler.hpp>
#include <sky-nomad-submit/usage.hpp>
#include <sky-vm-run/files.hpp>
#include <sky-vm-run/owner.hpp>
#include <sky/error.hpp>
#include <sky/json.hpp>
#include <sky/lease.hpp>
#include <sky/record.hpp>
#include <sky/registry.hpp>

#include <nlohmann/json.hpp>
#include <set>

using namespace sky;

namespace {

/// Every key of a document as PATH.KEY; elements of an array are all one.
std::set<std::string> keys_of(const Json& value, const std::string& path = "") {
    std::set<std::string> out;
    for (const auto& [key, member] : value.items()) {
        const std::string at = value.is_array() ? path + "[]" : path + "." + key;
        if (!value.is_array()) {
            out.insert(at.substr(1));
        }
        if (member.is_structured()) {
            out.merge(keys_of(member, at));
        }
    }
    return out;
}

std::set<std::string> keys_of(const std::string& dumped) {
    return keys_of(parse_json(dumped, 1U << 20U, "document"));
}

const Json kStateLine = {{"v", 1},
                         {"tenant", "alice"},
                         {"repo", "infra"},
                         {"machine", "www"},
                         {"state", "backoff"},
                         {"since", "2026-01-01T00:00:00Z"},
                         {"address", Json::array()},
                         {"restarts", 2}};

Json with(Json document, const char* key, const Json& value) {
    document[key] = value;
    return document;
}

} // namespace

TEST_CASE("notes of a version ahead are read, its keys unseen", "[versions]") {
    const Json news = {{"deep", {1, 2}}};

    const std::string line = dump_json(with(kStateLine, "news", news));
    CHECK(submit::MachineState::parse(line).restarts == 2);
    CHECK(vm::StateLine::parse(line).restarts == 2);

    const std::string store = "/nix/store/" + std::string(32, '0') + "-skyflake-www";
    const std::string hash = "sha256:" + std::string(52, '0');
    const Json entry = {{"path", store},
                        {"nar_hash", hash},
                        {"nar_size", 1},
                        {"references", Json::array()},
                        {"news", news}};
    const Json record = {{"v", 1},
                         {"tenant", "alice"},
                         {"repo", "infra"},
                         {"machine", "www"},
                         {"rev", std::string(40, 'a')},
                         {"build", "01j8000000000000"},
                         {"created", "2026-01-01T00:00:00Z"},
                         {"deployment", store},
                         {"nar_hash", hash},
                         {"closure", {entry}},
                         {"manifest", Json::object()},
                         {"news", news}};
    CHECK(parse_record(dump_json(record)).closure.size() == 1);

    const Json mark = {{"v", 1},        {"at", "2026-01-01T00:00:00Z"},
                       {"vcpu", 1},     {"mem_mib", 2},
                       {"disk_mib", 3}, {"news", news}};
    CHECK(submit::Mark::parse(dump_json(mark)).amount.disk_mib == 3);
}

TEST_CASE("a state line of a version behind lacks the code of a failure", "[versions]") {
    CHECK(submit::MachineState::parse(dump_json(kStateLine)).blame == 1);
    CHECK(submit::MachineState::parse(dump_json(with(kStateLine, "code", 74))).blame == 74);
    CHECK(vm::StateLine::parse(dump_json(kStateLine)).code == 1);
}

TEST_CASE("a note of another `v` is refused, whatever else it says", "[versions]") {
    const std::string line = dump_json(with(kStateLine, "v", 2));
    CHECK_THROWS_WITH(submit::MachineState::parse(line), "v: expected a whole number from 1 to 1");
    CHECK_THROWS_AS(vm::StateLine::parse(line), Error);
}

// Who adds a key to one of these lets one version pass that reads it and does not write it.
TEST_CASE("what hosts keep together has no key that version 0.1 does not know", "[versions]") {
    const auto www = MachinePath::parse_joined("alice.infra.www");
    vm::Owner owner;
    owner.storage = {"10.0.0.1:0/7"};
    CHECK(keys_of(owner.dump()) == std::set<std::string>{"v", "generation", "host", "incarnation",
                                                         "alloc", "create_index", "storage",
                                                         "leased", "opened", "released", "at"});

    LeaseRecord lease;
    lease.claims = {{.machine = www.joined(), .generation = 1, .by = "n2"}};
    CHECK(keys_of(lease.dump()) == std::set<std::string>{"v", "host", "incarnation", "serial",
                                                         "lease_s", "revoked", "claims",
                                                         "claims[].machine", "claims[].generation",
                                                         "claims[].by", "at"});

    const auto rev = Revision::parse(std::string(40, 'a'));
    submit::MachineRecord record;
    record.rev = rev;
    record.pin = submit::MachineRecord::Pin{.rev = rev, .why = "because"};
    record.did.uncached = true;
    record.good = {rev};
    record.apart = {www};
    CHECK(keys_of(record.dump()) == std::set<std::string>{"v",
                                                          "rev",
                                                          "want",
                                                          "pin",
                                                          "pin.rev",
                                                          "pin.why",
                                                          "did",
                                                          "did.state",
                                                          "did.rev",
                                                          "did.job",
                                                          "did.spec",
                                                          "did.at",
                                                          "did.session",
                                                          "did.why",
                                                          "did.uncached",
                                                          "good",
                                                          "granted",
                                                          "granted.vcpu",
                                                          "granted.mem_mib",
                                                          "granted.disk_mib",
                                                          "apart"});

    const Registry::Disk disk{
        .storage_class = "local", .size_mib = 1, .kept_since = 1, .host = "n1"};
    Registry registry;
    registry.tenants["alice"] = {.index = 1, .networks = {{"default", "10.0.0.0/24"}}};
    registry.machines[www.joined()] = {.index = 1,
                                       .uid = 1,
                                       .machine_id = "id",
                                       .addresses = {{"default", "10.0.0.2"}},
                                       .volumes = {{"root", disk}}};
    registry.kept["alice.infra.old"] = {{"root", disk}};
    const std::string machine = "machines.alice.infra.www.";
    CHECK(keys_of(registry.dump()) == std::set<std::string>{"v",
                                                            "next_index",
                                                            "tenants",
                                                            "tenants.alice",
                                                            "tenants.alice.index",
                                                            "tenants.alice.networks",
                                                            "tenants.alice.networks.default",
                                                            "machines",
                                                            "machines.alice.infra.www",
                                                            machine + "index",
                                                            machine + "uid",
                                                            machine + "machine_id",
                                                            machine + "addresses",
                                                            machine + "addresses.default",
                                                            machine + "volumes",
                                                            machine + "volumes.root",
                                                            machine + "volumes.root.class",
                                                            machine + "volumes.root.size_mib",
                                                            machine + "volumes.root.kept_since",
                                                            machine + "volumes.root.host",
                                                            "kept",
                                                            "kept.alice.infra.old",
                                                            "kept.alice.infra.old.root",
                                                            "kept.alice.infra.old.root.class",
                                                            "kept.alice.infra.old.root.size_mib",
                                                            "kept.alice.infra.old.root.kept_since",
                                                            "kept.alice.infra.old.root.host"});
}
