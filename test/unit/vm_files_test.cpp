// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <sky-vm-run/console.hpp>
#include <sky-vm-run/files.hpp>
#include <sky-vm-run/processes.hpp>
#include <sky-vm-run/qmp.hpp>
#include <sky/error.hpp>
#include <sky/json.hpp>

#include <nlohmann/json.hpp>
#include <sys/mman.h>

using namespace sky;
using namespace sky::vm;

namespace {

std::string status_of(const char* state, const char* nspid) {
    return fmt::format("Name:\tqemu\nUmask:\t0077\nState:\t{}\nTgid:\t42\nPid:\t42\nPPid:\t7\n"
                       "Uid:\t2000028\t2000028\t2000028\t2000028\nNSpid:\t{}\n",
                       state, nspid);
}

// The name may hold anything, parentheses and blanks too.
const std::string kStat = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2";

Process process(pid_t pid, pid_t parent, uid_t uid, pid_t inner, std::uint64_t start) {
    return {pid, parent, uid, inner, inner != 0, start};
}

Fd memory() {
    return Fd(::memfd_create("console", MFD_CLOEXEC));
}

std::string content(int fd) {
    std::string text(1024, '\0');
    text.resize(static_cast<std::size_t>(::pread(fd, text.data(), text.size(), 0)));
    return text;
}

} // namespace

TEST_CASE("a process as /proc tells it", "[vm]") {
    const auto p = parse_process(status_of("S (sleeping)", "42\t3"), kStat);
    REQUIRE(p);
    CHECK(p->pid == 42);
    CHECK(p->parent == 7);
    CHECK(p->uid == 2000028);
    CHECK(p->inner);
    CHECK(p->inner_pid == 3);
    CHECK(p->start == 98765);
    CHECK_FALSE(parse_process(status_of("S (sleeping)", "42"), kStat)->inner);
    CHECK_FALSE(parse_process(status_of("Z (zombie)", "42\t1"), kStat));
    CHECK_FALSE(parse_process("", ""));
    CHECK_FALSE(parse_process(status_of("S (sleeping)", "42"), "42 (a"));
}

TEST_CASE("what lives of a machine: guard and first child of it with the machine's uid", "[vm]") {
    const std::vector<Process> all{
        process(90, 50, 1000, 0, 1),  // speaks QMP: the machine's uid, outside
        process(60, 50, 1001, 1, 10), // guard
        process(62, 60, 1000, 3, 12), // a child of the hypervisor that lost its parent
        process(61, 60, 1000, 2, 11), // hypervisor
        process(70, 50, 1002, 1, 11), // virtiofsd
        process(80, 50, 1005, 1, 10), // the next machine's guard
    };
    const Alive alive = alive_among(all, 1000);
    REQUIRE(alive.guard);
    CHECK(alive.guard->pid == 60);
    REQUIRE(alive.runner);
    CHECK(alive.runner->pid == 61);
    CHECK(alive_among(all, 1004).guard->pid == 80);
    CHECK_FALSE(alive_among(all, 1004).runner);
    CHECK_FALSE(alive_among(all, 2000).guard);
}

TEST_CASE("want and state files are read strictly", "[vm]") {
    const Want want{true, 7};
    CHECK(Want::parse(want.dump()) == want);
    CHECK_THROWS_AS(Want::parse(R"({"v":1,"want":"perhaps","serial":1})"), Error);
    CHECK_THROWS_AS(Want::parse(R"({"v":1,"want":"running","serial":1,"x":1})"), Error);

    StateLine line{.path = MachinePath::parse_joined("alice.infra.www"),
                   .state = "ready",
                   .rev = std::string(40, 'a'),
                   .spec = "",
                   .pid = 12,
                   .since = "2026-01-01T00:00:00Z",
                   .address = {"10.0.0.1"},
                   .restarts = 2,
                   .why = "",
                   .serial = 9,
                   .code = 74};
    const auto again = StateLine::parse(dump_json(line.json(true)));
    CHECK(again.json(true) == line.json(true));
    CHECK(again.serial == 9);
    CHECK(again.code == 74);
    CHECK_FALSE(line.json(false).contains("serial"));
    CHECK_FALSE(line.json(false).contains("code"));
    line.state = "backoff";
    CHECK(line.json(false).at("code") == 74);
    CHECK(line.json(false).at("why").is_null());
    CHECK(line.json(false).at("spec").is_null());
}

TEST_CASE("a monitor's replies are hints: one plain word or nothing", "[vm]") {
    CHECK(qmp_word(R"({"return": {"status": "running", "running": true}})") == "running");
    CHECK(qmp_word(R"({"return": {}})") == "ok");
    CHECK(qmp_word(R"({"return": {"status": "\u001b[31mred"}})") == "ok");
    CHECK(qmp_word(R"({"return": {"status": 5}})") == "ok");
    CHECK(qmp_word(R"({"return": []})") == "ok");
    CHECK(qmp_word(R"({"event": "POWERDOWN"})").empty());
    CHECK(qmp_word(R"({"QMP": {"version": {}}})").empty());
    CHECK(qmp_word(R"({"error": {"class": "GenericError"}})").empty());
    CHECK(qmp_word("rubbish").empty());
    CHECK(qmp_word("[1,2]").empty());
    CHECK(qmp_word(std::string(100000, '[')).empty());
}

TEST_CASE("the console keeps the last of two full files", "[vm]") {
    ConsoleLog log(memory(), memory(), 8);
    log.append("abc");
    log.append("defgh");
    CHECK(content(log.now()) == "abcdefgh");
    CHECK(content(log.old()).empty());
    log.append("i");
    CHECK(content(log.old()) == "abcdefgh");
    CHECK(content(log.now()) == "i");
    log.append(std::string(20, 'x') + "end");
    CHECK(content(log.old()) == std::string(8, 'x'));
    CHECK(content(log.now()) == std::string(5, 'x') + "end");
}

TEST_CASE("a machine says that it is ready in a line of its own, whatever pieces it comes in",
          "[vm]") {
    const auto found = [](std::initializer_list<const char*> pieces) {
        NotificationFinder finder;
        return std::count_if(pieces.begin(), pieces.end(),
                             [&](const char* piece) { return finder.ends_in(piece); });
    };
    CHECK(found({"READY=1\n"}) == 1);
    CHECK(found({"login: \r\nREADY=1\r\nmore"}) == 1);
    CHECK(found({"boot\nREA", "DY=1", "\n"}) == 1);
    CHECK(found({"READY=1"}) == 0);
    CHECK(found({"READY=11\nREADY=\nXREADY=1\nREADY=1 \n\n"}) == 0);
    CHECK(found({"READREADY=1\n", "READY=1\n"}) == 1);
}

TEST_CASE("the last lines of a text", "[vm]") {
    CHECK(last_lines("a\nb\nc\n", 2) == "b\nc\n");
    CHECK(last_lines("a\nb\nc", 2) == "b\nc");
    CHECK(last_lines("a\nb\n", 9) == "a\nb\n");
    CHECK(last_lines("a\nb\n", 0).empty());
    CHECK(last_lines("", 3).empty());
    CHECK(last_lines("\n\n\n", 1) == "\n");
}
