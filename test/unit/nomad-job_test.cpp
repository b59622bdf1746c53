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
    const Json job = nomad_job(clustered(), spec_of(), std::nullopt);
    CHECK(job.at("ID") == "alice.infra.www");
    CHECK(job.at("Namespace") == "sky-alice");
    CHECK(job.at("Meta").at("sky_spec") == spec_of().hash());
    const Json& group = job.at("TaskGroups").at(0);
    CHECK(group.at("Count") == 1);
    CHECK(group.at("Update").at("MaxParallel") == 0);
    CHECK_FALSE(group.contains("Disconnect"));
    const Json& vm = group.at("Tasks").at(0);
    CHECK(vm.at("Leader") == true);
    CHECK(vm.at("Resources").at("CPU") == 1000);
    CHECK(vm.at("Resources").at("MemoryMB") == 612);
    CHECK(vm.at("KillTimeout") == 35'000'000'000);
    CHECK(Spec::parse(vm.at("Env").at("SKY_SPEC").get<std::string>()) == spec_of());
    CHECK(dump_json(job).find('$') == std::string::npos); // nothing for Nomad to fill in
}

TEST_CASE("a machine with local volumes stays on its host and waits for it", "[nomad]") {
    const Json job = nomad_job(clustered(), spec_of(), "n2");
    const Json& group = job.at("TaskGroups").at(0);
    CHECK(group.at("Constraints").at(0).at("RTarget") == "n2");
    CHECK(group.at("Disconnect").at("Replace") == false);
}

TEST_CASE("what Nomad drops or changes of a job is found, what it adds is not", "[nomad]") {
    const Json sent = nomad_job(clustered(), spec_of(), "n2");
    Json there = sent;
    there["Status"] = "pending";
    there["TaskGroups"][0]["Tasks"][0]["User"] = "";
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
    auto seen = nomad_state(job, &a, said);
    CHECK(seen.state == "ready");
    CHECK(seen.lives);
    CHECK(seen.rev == test::rev('b'));
    CHECK(seen.address.size() == 1);

    a.id = "two";
    seen = nomad_state(job, &a, said);
    CHECK(seen.state == "starting");
    CHECK(seen.address.empty());

    a.state = "failed";
    CHECK(nomad_state(job, &a, said).state == "failed");
    CHECK(nomad_state(job, &a, said).why == "Task crashed");
    CHECK_FALSE(nomad_state(job, &a, said).lives);

    a.id = "one";
    a.state = "lost"; // it may live
    seen = nomad_state(job, &a, said);
    CHECK(seen.lives);
    CHECK(seen.why == "host n1 is not heard of");

    CHECK(nomad_state(job, nullptr, said).state == "starting");
    Json stopped = job;
    stopped["Stop"] = true;
    CHECK(nomad_state(stopped, nullptr, said).state == "stopped");
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
