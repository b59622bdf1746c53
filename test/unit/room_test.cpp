// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <sky-nomad-submit/room.hpp>

#include <nlohmann/json.hpp>

using namespace sky;
using namespace sky::submit;

namespace {

Json node(const char* name, int mib, const char* status = "ready") {
    return {{"ID", std::string("id-") + name},
            {"Name", name},
            {"Status", status},
            {"SchedulingEligibility", "eligible"},
            {"NodeResources", {{"Cpu", {{"CpuShares", 4000}}}, {"Memory", {{"MemoryMB", mib}}}}},
            {"ReservedResources", {{"Cpu", {{"CpuShares", 100}}}, {"Memory", {{"MemoryMB", 24}}}}}};
}

Json allocation(const char* id, const char* host, int mib, const char* state = "running") {
    return {{"ID", id},
            {"NodeID", std::string("id-") + host},
            {"ClientStatus", state},
            {"AllocatedResources",
             {{"Tasks",
               {{"vm", {{"Cpu", {{"CpuShares", 500}}}, {"Memory", {{"MemoryMB", mib}}}}},
                {"cleanup", {{"Cpu", {{"CpuShares", 50}}}, {"Memory", {{"MemoryMB", 64}}}}}}}}}};
}

} // namespace

TEST_CASE("what is left on a host is what nobody has and the host does not keep", "[nomad]") {
    const auto rooms = rooms_of({node("n2", 1024, "down"), node("n1", 1024)},
                                {allocation("a", "n1", 300), allocation("b", "n1", 300, "complete"),
                                 allocation("c", "gone", 300)});
    REQUIRE(rooms.size() == 2);
    CHECK(rooms[0].host == "n1");
    CHECK(rooms[0].left() == Demand{3400, 700});
    CHECK(lacking(rooms, {100, 800}, std::nullopt) == "n1 lacks 100 MiB, n2 is down");
    CHECK(lacking(rooms, {4000, 800}, "n2") == "n1 does not have its volumes, n2 is down");
    CHECK(lacking(rooms, {4000, 100}, "n1") == "n1 lacks 600 MHz, n2 does not have its volumes");
    CHECK(lacking({}, {1, 1}, std::nullopt) == "there is no host");
}

TEST_CASE("hosts that are away are worth waiting for, where it is not room that lacks", "[nomad]") {
    auto rooms = rooms_of({node("n1", 1024, "down"), node("n2", 2048, "down")},
                          Json::array({allocation("a", "n2", 1500)}));
    CHECK(may_fit_soon(rooms, {100, 900}, std::nullopt));
    CHECK(may_fit_soon(rooms, {100, 900}, "n1"));
    CHECK_FALSE(may_fit_soon(rooms, {100, 900}, "n2"));
    CHECK_FALSE(may_fit_soon(rooms, {100, 1100}, std::nullopt));
    CHECK_FALSE(may_fit_soon({}, {100, 100}, std::nullopt));
    rooms = rooms_of({node("n1", 1024), node("n2", 1024, "down")}, Json::array());
    CHECK(not_spared(rooms, {{100, 900}}, {}));
    CHECK_FALSE(not_spared(with_all_back(rooms), {{100, 900}}, {}));
    Json drained = node("n1", 1024);
    drained["SchedulingEligibility"] = "ineligible";
    rooms = rooms_of(Json::array({drained}), Json::array());
    CHECK_FALSE(may_fit_soon(rooms, {100, 900}, std::nullopt));
    CHECK(with_all_back(rooms)[0].why_not == "drained");
}

TEST_CASE("one host may be lost while the others have room for its machines", "[nomad]") {
    const Json nodes{node("n1", 1024), node("n2", 1024), node("n3", 1024)};
    const auto lacks = [&](const Json& allocations, const Wanted& asked,
                           const std::vector<Wanted>& others = {}) {
        return not_spared(rooms_of(nodes, allocations), asked, others);
    };
    CHECK_FALSE(lacks(Json::array(), {{500, 900}}));
    CHECK(lacks(Json::array(), {{500, 1100}}));
    // Two hosts of 1000 hold 600 and 600 and the new 300; the third's 600 has no place then.
    const Json full{allocation("a", "n1", 600), allocation("b", "n2", 600),
                    allocation("c", "n3", 600)};
    const auto unspared = lacks(full, {{500, 300}});
    REQUIRE(unspared);
    CHECK(unspared->text() ==
          "n1 must not die: mem_mib: asked 300, used 1800, allowed 2000 without it");
    const Json light{allocation("a", "n1", 300), allocation("b", "n2", 300),
                     allocation("c", "n3", 300)};
    CHECK_FALSE(lacks(light, {{500, 300}}));
    // What was granted to others and has no place yet counts as well.
    CHECK(lacks(light, {{500, 300}}, {{{500, 900}}}));
    // A sum that would do, in pieces that do not.
    const Json pieces{allocation("a", "n1", 600), allocation("b", "n2", 600)};
    CHECK(lacks(pieces, {{500, 450}})->text() ==
          "n1 must not die: mem_mib: asked 450, used 1200, allowed 2000 without it (in pieces)");
    CHECK(lacks(Json::array(), {{5000, 100}})->text() ==
          "n1 must not die: mhz: asked 5000, used 0, allowed 7800 without it (in pieces)");
    // A host that is down spares nobody.
    CHECK(not_spared(rooms_of({node("n1", 1024), node("n2", 1024, "down")}, Json::array()),
                     {{500, 300}}, {})
              ->host == "n1");
}

TEST_CASE("what is held to a host needs no place on another, and has no other", "[nomad]") {
    const Json nodes{node("n1", 1024), node("n2", 1024)};
    const Json allocations{allocation("a", "n1", 700), allocation("b", "n2", 700)};
    auto rooms = rooms_of(nodes, allocations);
    CHECK(not_spared(rooms, {{500, 100}}, {}));
    for (Room& room : rooms) {
        for (auto& [id, machine] : room.machines) {
            machine.stays = true;
        }
    }
    CHECK_FALSE(not_spared(rooms, {{500, 100}}, {}));
    // It waits with the host that has its volumes, and must fit there when the other dies.
    CHECK_FALSE(not_spared(rooms, {{500, 300}, "n1"}, {}));
    CHECK(not_spared(rooms, {{500, 400}, "n1"}, {})->host == "n2");
    Json everywhere = allocation("c", "n1", 200);
    everywhere["JobType"] = "system";
    CHECK(rooms_of(nodes, Json::array({everywhere}))[0].machines.at("c").stays);
}
