// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include "unit/submit.hpp"
#include <sky-nomad-submit/nomad-job.hpp>
#include <sky/nomad/client.hpp>

using namespace sky;
using namespace sky::submit;

namespace {

Config clustered() {
    Config out = test::config();
    out.nomad.emplace().addresses = {"http://127.0.0.1:4646"};
    out.nomad->vcpu_mhz = 500;
    out.nomad->overhead_mib = 100;
    return out;
}

Spec spec_of() {
    return {.path = test::path("alice", "infra", "www"),
            .rev = test::rev('a'),
            .deployment = test::store_path("skyflake-www"),
            .nar_hash = "sha256:" + std::string(52, '0'),
            .runner = test::store_path("runner"),
            .hypervisor = "qemu",
            .vcpu = 2,
            .mem_mib = 512,
            .machine_id = "00000000-0000-4000-8000-000000000000",
            .interfaces = {},
            .volumes = {},
            .ready = {},
            .stop_s = 20};
}

} // namespace

TEST_CASE("a machine's job holds one leader that Nomad counts with its overhead", "[nomad]") {
    const Json job = nomad_job(clustered(), spec_of(), {});
    CHECK(job.at("ID") == "alice.infra.www");
    CHECK(job.at("Namespace") == "sky-alice");
    CHECK(job.at("Meta").at("sky_spec") == spec_of().hash());
    const Json& group = job.at("TaskGroups").at(0);
    CHECK(group.at("Count") == 1);
    CHECK(group.at("Update").at("MaxParallel") == 0);
    CHECK(group.at("Disconnect").is_null());
    CHECK(job.at("Constraints").empty());
    const Json& vm = group.at("Tasks").at(0);
    CHECK(vm.at("Leader") == true);
    CHECK(vm.at("Resources").at("CPU") == 1000);
    CHECK(vm.at("Resources").at("MemoryMB") == 612);
    CHECK(vm.at("KillTimeout") == 35'000'000'000);
    CHECK(Spec::parse(vm.at("Env").at("SKY_SPEC").get<std::string>()) == spec_of());
    CHECK(dump_json(job).find('$') == std::string::npos); // nothing for Nomad to fill in
}

TEST_CASE("a machine with local volumes stays on its host and waits for it", "[nomad]") {
    const Json job = nomad_job(clustered(), spec_of(), {.host = "n2"});
    const Json& group = job.at("TaskGroups").at(0);
    CHECK(job.at("Constraints").at(0).at("RTarget") == "n2");
    CHECK(group.at("Disconnect").at("Replace") == false);
}

TEST_CASE("the operator says where machines run, for all and for a tenant", "[nomad]") {
    auto config = clustered();
    const auto job = [&] { return nomad_job(config, spec_of(), {.host = "n2"}); };
    CHECK(job().at("Priority") == 50);
    config.nomad->placements["default"] = {
        .constraints = {{.attribute = "${meta.sky}", .value = "true"}},
        .affinities = {},
        .spreads = {{.attribute = "${node.datacenter}", .weight = 70}},
        .priority = std::nullopt};
    config.nomad->placements["gold"] = {
        .constraints = {},
        .affinities = {{.attribute = "${node.class}", .value = "big", .weight = -20}},
        .spreads = {},
        .priority = 80};
    CHECK(job().at("Constraints").size() == 2);
    CHECK(job().at("Constraints").at(1).at("LTarget") == "${meta.sky}");
    CHECK(job().at("Spreads").at(0).at("Weight") == 70);
    CHECK(job().at("Affinities").empty());
    CHECK(job().at("Priority") == 50);
    config.tenants.at(Tenant::parse("alice")).placed = {"gold"};
    CHECK(job().at("Affinities").at(0).at("Weight") == -20);
    const Json apart = nomad_job(config, spec_of(), {.not_on = {"n1"}});
    CHECK(apart.at("Constraints").at(0).at("Operand") == "!=");
    CHECK(apart.at("Constraints").at(0).at("RTarget") == "n1");
    CHECK(job().at("Priority") == 80);
}

TEST_CASE("what Nomad drops or changes of a job is found, what it adds is not", "[nomad]") {
    const Json sent = nomad_job(clustered(), spec_of(), {.host = "n2"});
    Json there = sent;
    there["Status"] = "pending";
    there["TaskGroups"][0]["Tasks"][0]["User"] = "";
    CHECK_FALSE(changed_by_nomad(sent, there));
    there["TaskGroups"][0]["Affinities"] = nullptr;
    CHECK_FALSE(changed_by_nomad(sent, there));
    there["TaskGroups"][0].erase("Disconnect");
    CHECK(changed_by_nomad(sent, there) == "TaskGroups[0].Disconnect");
    there = sent;
    there["TaskGroups"][0]["Count"] = 2;
    CHECK(changed_by_nomad(sent, there) == "TaskGroups[0].Count");
    there = sent;
    there["TaskGroups"].push_back(sent["TaskGroups"][0]);
    CHECK(changed_by_nomad(sent, there) == "TaskGroups");
}

TEST_CASE("what protects against two copies is compared, whichever key Nomad dropped", "[nomad]") {
    const Json sent = nomad_job(clustered(), spec_of(), {.host = "n2"});
    for (const char* pointer :
         {"/TaskGroups/0/Count", "/TaskGroups/0/Update/MaxParallel",
          "/TaskGroups/0/Disconnect/Replace", "/TaskGroups/0/Disconnect/LostAfter",
          "/Constraints/0/RTarget", "/TaskGroups/0/Tasks/0/Leader",
          "/TaskGroups/0/Tasks/0/KillTimeout", "/TaskGroups/0/Tasks/0/Env/SKY_SPEC",
          "/TaskGroups/0/Tasks/1/Lifecycle/Hook"}) {
        INFO(pointer);
        Json there = sent;
        there[Json::json_pointer(pointer)] = "other";
        CHECK(changed_by_nomad(sent, there));
    }
    Json there = sent; // a canary, or a second update strategy, is nothing that was sent
    there["TaskGroups"][0]["Update"] = {{"MaxParallel", 1}, {"Canary", 1}};
    CHECK(changed_by_nomad(sent, there));
}

TEST_CASE("a job of the same spec is changed only where that restarts nothing", "[nomad]") {
    auto config = clustered();
    const Json there = nomad_job(config, spec_of(), {});
    auto renamed = spec_of();
    renamed.rev = test::rev('b');
    config.nomad->vcpu_mhz = 700;
    const Json wanted = without_restart(nomad_job(config, renamed, {.host = "n2"}), there);
    CHECK(wanted.at("Meta") == there.at("Meta"));
    CHECK(wanted.at("TaskGroups").at(0).at("Tasks") == there.at("TaskGroups").at(0).at("Tasks"));
    CHECK(changed_by_nomad(wanted, there) == "Constraints");
    CHECK_FALSE(changed_by_nomad(without_restart(nomad_job(config, renamed, {}), there), there));
}

TEST_CASE("a machine that is held to a host says that it waits for it", "[nomad]") {
    const Json job = {{"ID", "alice.infra.www"}, {"Meta", nullptr}};
    const auto why = [&](const Allocation* a, const Json& of) {
        return nomad_state(of, a, std::nullopt, "n2").why;
    };
    CHECK(why(nullptr, job) == "waits for n2, which has its volumes");
    Allocation a{.id = "one",
                 .job = {},
                 .name_space = {},
                 .node = "n2",
                 .wanted = "run",
                 .state = "unknown",
                 .event = {}};
    CHECK(why(&a, job) == "waits for n2, which has its volumes");
    a.state = "complete";
    a.wanted = "stop"; // drained
    CHECK(why(&a, job) == "waits for n2, which has its volumes");
    CHECK(nomad_state(job, &a, std::nullopt, "n2").state == "starting");
    Json stopped = job;
    stopped["Stop"] = true;
    CHECK(nomad_state(stopped, &a, std::nullopt, "n2").state == "stopped");
    CHECK_FALSE(why(&a, stopped));
}

TEST_CASE("a machine in Nomad: what its supervisor said counts for its own allocation", "[nomad]") {
    const Json job = {{"ID", "alice.infra.www"},
                      {"Meta", {{"sky_spec", "abc"}, {"sky_rev", std::string(40, 'b')}}}};
    MachineState said{.path = test::path("alice", "infra", "www"), .state = "ready"};
    said.alloc = "one";
    said.host = "n1";
    said.address = {"10.0.0.2"};
    Allocation a{.id = "one",
                 .job = "alice.infra.www",
                 .name_space = "sky-alice",
                 .node = "n1",
                 .wanted = "run",
                 .state = "running",
                 .create_index = 5,
                 .job_version = 0,
                 .event = "Task crashed"};
    auto seen = nomad_state(job, &a, said, std::nullopt);
    CHECK(seen.state == "ready");
    CHECK(seen.lives);
    CHECK(seen.rev == test::rev('b'));
    CHECK(seen.address.size() == 1);

    a.id = "two";
    seen = nomad_state(job, &a, said, std::nullopt);
    CHECK(seen.state == "starting");
    CHECK(seen.address.empty());

    a.state = "failed";
    CHECK(nomad_state(job, &a, said, std::nullopt).state == "failed");
    CHECK(nomad_state(job, &a, said, std::nullopt).why == "Task crashed");
    CHECK_FALSE(nomad_state(job, &a, said, std::nullopt).lives);

    a.id = "one";
    a.state = "lost"; // it may live
    seen = nomad_state(job, &a, said, std::nullopt);
    CHECK(seen.lives);
    CHECK(seen.why == "host n1 is not heard of");

    CHECK(nomad_state(job, nullptr, said, std::nullopt).state == "starting");
    Json stopped = job;
    stopped["Stop"] = true;
    CHECK(nomad_state(stopped, nullptr, said, std::nullopt).state == "stopped");
    CHECK(nomad_state(stopped, &a, said, std::nullopt).state == "stopped"); // it was taken from n1
    CHECK_FALSE(nomad_state(stopped, &a, said, std::nullopt).is_up());
}

TEST_CASE("which answers of Nomad's a second try may better", "[nomad]") {
    using nomad::Trouble;
    using nomad::trouble_of;
    CHECK(trouble_of(200, "") == Trouble::kFinal);
    CHECK(trouble_of(403, "Permission denied") == Trouble::kFinal);
    CHECK(trouble_of(429, "") == Trouble::kPassing);
    CHECK(trouble_of(500, "No cluster leader") == Trouble::kPassing);
    CHECK(trouble_of(500, "rpc error: No cluster leader") == Trouble::kPassing);
    CHECK(trouble_of(500,
                     "rpc error: failed to get conn: dial tcp 10.0.0.2:4647: connect: connection "
                     "refused") == Trouble::kPassing);
    CHECK(trouble_of(500, "rpc error: failed to get conn: rpc error: lead thread didn't get "
                          "connection") == Trouble::kPassing);
    CHECK(trouble_of(500, "rpc error: EOF") == Trouble::kUnclear);
    CHECK(trouble_of(500, "leadership lost while committing log") == Trouble::kUnclear);
    CHECK(trouble_of(500, "Enforcing job modify index 0: job already exists") == Trouble::kFinal);
}

TEST_CASE("a token's file is its owner's alone", "[nomad]") {
    const test::Scratch scratch;
    const auto file = scratch.path / "token";
    atomic_write(file, "abc-def\n", {.mode = 0400});
    CHECK(nomad::read_token(file) == "abc-def");
    atomic_write(file, "abc\n", {.mode = 0440});
    CHECK_THROWS_WITH(nomad::read_token(file), ContainsSubstring("but its owner may read"));
    atomic_write(file, "a b\nc\n", {.mode = 0400});
    CHECK_THROWS_WITH(nomad::read_token(file), ContainsSubstring("holds no token"));
    CHECK_THROWS_AS(nomad::read_token(scratch.path / "none"), Error);
}
