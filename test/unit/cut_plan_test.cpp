// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <sky-vm-run/ceph.hpp>
#include <sky-vm-run/cut-plan.hpp>
#include <sky/error.hpp>

using namespace sky;
using namespace sky::vm;

namespace {

constexpr const char* kOld = "10.0.0.1:0/111";
constexpr const char* kOther = "[fd00::2]:0/222";
const Locker kLocker{.id = "auto 7", .client = "client.41", .address = kOld};

ImageUse use(std::vector<std::string> watchers, std::vector<Locker> lockers) {
    return {.image = "i", .watchers = std::move(watchers), .lockers = std::move(lockers)};
}

} // namespace

TEST_CASE("nobody had it: nobody is cut off", "[vm][fence]") {
    CHECK(plan_cut({}, "", {}, {}).done());
    CHECK(plan_cut({}, "", {use({}, {})}, {}).done());
}

TEST_CASE("recorded owner, lockers and watchers are cut off, each once", "[vm][fence]") {
    const std::vector<ImageUse> seen{use({kOld, kOther}, {kLocker})};
    const auto first = plan_cut({"10.0.0.9:0/9", kOld}, "n1", seen, {});
    REQUIRE(first.cut.size() == 3);
    CHECK(first.cut[0] == Cut{"10.0.0.9:0/9", "the owner record has it, of n1"});
    CHECK(first.cut[1] == Cut{kOld, "the owner record has it, of n1"});
    CHECK(first.cut[2] == Cut{kOther, "it watches i"});
    const auto locker = plan_cut({}, "", {use({}, {kLocker})}, {});
    REQUIRE(locker.cut.size() == 1);
    CHECK(locker.cut[0].evidence == "it holds the lock of i");
}

TEST_CASE("who is cut off and still seen is waited for; who comes meanwhile is cut off, too",
          "[vm][fence]") {
    const auto still = plan_cut({kOld}, "n1", {use({kOld}, {kLocker})}, {kOld});
    CHECK(still.cut.empty());
    CHECK(still.wait);
    CHECK_FALSE(still.done());
    const auto more = plan_cut({kOld}, "n1", {use({kOld, kOther}, {kLocker})}, {kOld});
    REQUIRE(more.cut.size() == 1);
    CHECK(more.cut[0].address == kOther);
}

TEST_CASE("a lock of who is cut off holds nobody up; it is broken once nobody is left",
          "[vm][fence]") {
    CHECK(plan_cut({kOld}, "n1", {use({}, {kLocker}), use({}, {})}, {kOld}).done());
    CHECK_FALSE(plan_cut({kOld}, "n1", {use({}, {kLocker}), use({kOther}, {})}, {kOld}).done());
}

TEST_CASE("a client's address has a nonce; nothing else is ever blocklisted", "[vm][fence]") {
    for (const char* good : {"10.0.0.1:0/4123456789", "[fd00::1]:0/1", "127.0.0.1:6800/7"}) {
        CHECK(is_client_address(good));
    }
    for (const char* bad :
         {"", "10.0.0.1", "10.0.0.1:0", "10.0.0.1:0/", "10.0.0.0/8", ":0/1", "--all:0/1",
          "10.0.0.1:0/1 2", "10.0.0.1:x/1", "[fd00::1:0/1", "host:0/1", "-:/-"}) {
        CHECK_FALSE(is_client_address(bad));
    }
}

TEST_CASE("what rbd prints is read strictly", "[vm][fence]") {
    CHECK(parse_watchers(R"({"watchers":[{"address":"10.0.0.1:0/1","client":4,"cookie":9}]})") ==
          std::vector<std::string>{"10.0.0.1:0/1"});
    CHECK(parse_watchers(R"({"watchers":[]})").empty());
    CHECK(parse_lockers("[]").empty());
    CHECK(parse_lockers(R"([{"id":"auto 7","locker":"client.41","address":"10.0.0.1:0/111"}])") ==
          std::vector<Locker>{kLocker});
    for (const char* bad : {"", "{}", "[]", R"({"watchers":{}})", R"({"watchers":[{}]})",
                            R"({"watchers":[{"address":"10.0.0.1"}]})"}) {
        CHECK_THROWS_AS(parse_watchers(bad), Error);
    }
    CHECK_THROWS_AS(parse_lockers(R"([{"id":"a","locker":"b","address":"0.0.0.0/0"}])"), Error);
    for (const char* option : {"--log-file=/etc/cron.d/x", "-c", "", "a\\n"}) {
        CHECK_THROWS_AS(
            parse_lockers(fmt::format(
                R"([{{"id":"{}","locker":"client.41","address":"10.0.0.1:0/111"}}])", option)),
            Error);
        CHECK_THROWS_AS(
            parse_lockers(fmt::format(
                R"([{{"id":"auto 7","locker":"{}","address":"10.0.0.1:0/111"}}])", option)),
            Error);
    }
}

TEST_CASE("a pool is full by a flag of its own, or of the whole cluster", "[vm][ceph]") {
    const auto dump = [](const std::string& flags, const std::string& pool) {
        return R"({"flags":")" + flags +
               R"(","pools":[{"pool_name":"other","flags_names":"full"},)" +
               R"({"pool_name":"sky","flags_names":")" + pool + R"("}]})";
    };
    CHECK(parse_full(dump("sortbitwise", "hashpspool,full,selfmanaged_snaps"), "sky"));
    CHECK(parse_full(dump("sortbitwise", "hashpspool,full,full_quota"), "sky"));
    CHECK(parse_full(dump("full,sortbitwise", "hashpspool"), "sky"));
    CHECK_FALSE(parse_full(dump("nearfull,sortbitwise", "hashpspool,backfillfull"), "sky"));
    CHECK_THROWS_AS(parse_full(dump("", ""), "nowhere"), Error);
    CHECK_THROWS_AS(parse_full("{}", "sky"), Error);
}
