// SPDX-License-Identifier: MIT
#include "catch.hpp"
#include "unit/submit.hpp"

#include <sky-nomad-submit/usage.hpp>

using namespace sky;
using namespace sky::submit;
using namespace sky::submit::test;

TEST_CASE("usage is what was granted, times how long", "[usage]") {
    const std::vector<Mark> marks{{100, {.vcpu = 2, .mem_mib = 512, .disk_mib = 10}},
                                  {160, {.vcpu = 0, .mem_mib = 0, .disk_mib = 10}},
                                  {200, {}}};
    CHECK(used_between(marks, 0, 1000) ==
          Used{.vcpu_s = 120, .mem_mib_s = 512 * 60, .disk_mib_s = 1000});
    CHECK(used_between(marks, 150, 170) ==
          Used{.vcpu_s = 20, .mem_mib_s = 512 * 10, .disk_mib_s = 200});
    CHECK(used_between(marks, 0, 100) == Used{});
    CHECK(used_between({marks[0]}, 0, 110).vcpu_s == 20); // it runs still
    // The clock was set back between two marks.
    CHECK(used_between({{100, {.vcpu = 1}}, {90, {.vcpu = 1}}}, 0, 100).vcpu_s == 10);
}

TEST_CASE("accounts are written once, survive a torn line and their record", "[usage]") {
    const Scratch scratch;
    const UsageBook accounts(scratch.path);
    const Records records(scratch.path);
    const auto www = path("alice", "infra", "www");
    records.prepare(www);
    accounts.note(www, {});
    CHECK(accounts.marks(www).empty()); // nothing held, nothing to say
    const Amount held{.vcpu = 1, .mem_mib = 512, .disk_mib = 2048};
    accounts.note(www, held);
    accounts.note(www, held);
    REQUIRE(accounts.marks(www).size() == 1);
    const auto file = scratch.path / "records/alice/infra/www.usage";
    const auto text = read_file(file, 1000);
    atomic_write(file, text + R"({"v":1,"at":"20)", {.durable = false});
    CHECK(accounts.marks(www).size() == 1);
    accounts.note(www, held);
    accounts.note(www, {.vcpu = 0, .mem_mib = 0, .disk_mib = 2048});
    const auto marks = accounts.marks(www);
    REQUIRE(marks.size() >= 2);
    CHECK(marks.back().amount.vcpu == 0);
    CHECK(Mark::parse(marks.back().dump()) == marks.back());
    CHECK(accounts.left_behind(www.tenant) == std::vector{www});
    CHECK(accounts.of_tenant(www.tenant, 0, marks.front().at + 10).mem_mib_s <= 5120);
    CHECK_THROWS_AS(Mark::parse(R"({"v":1,"at":"yesterday"})"), Error);
}

TEST_CASE("a damaged account stops nothing, and is named where it would count", "[usage]") {
    const Scratch scratch;
    const UsageBook accounts(scratch.path);
    const auto www = path("alice", "infra", "www");
    Records(scratch.path).prepare(www);
    const Amount held{.vcpu = 1, .mem_mib = 512, .disk_mib = 2048};
    accounts.note(www, held);
    const auto file = scratch.path / "records/alice/infra/www.usage";
    auto text = read_file(file, 1000);
    text[text.find("vcpu")] ^= 1;
    atomic_write(file, text, {.durable = false});
    accounts.note(www, held); // a push goes on
    CHECK(read_file(file, 1000).size() > text.size());
    CHECK_THROWS_WITH(accounts.of_tenant(www.tenant, 0, 1),
                      Catch::Contains("www.usage' is damaged"));
}

TEST_CASE("a record counts processors and memory while its machine runs, or should", "[usage]") {
    MachineRecord record;
    record.rev = rev('a');
    record.granted = {.vcpu = 1, .mem_mib = 512, .disk_mib = 2048};
    CHECK(held_by(record) == record.granted);
    record.want_running = false;
    record.did.state = MachineRecord::State::kRunning; // its stop is not finished
    CHECK(held_by(record).vcpu == 1);
    record.did.state = MachineRecord::State::kStopped;
    CHECK(held_by(record) == Amount{.vcpu = 0, .mem_mib = 0, .disk_mib = 2048});
}
