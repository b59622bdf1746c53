// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include "sky-shell/git-command.hpp"
#include "sky-shell/receive-plan.hpp"
#include "sky-shell/refs.hpp"
#include "sky-shell/table.hpp"

#include <sky/error.hpp>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

using namespace sky;
using namespace sky::shell;
using namespace std::string_literals;

namespace {

const std::string some_rev(40, 'a');
const std::string other_rev(40, 'b');
const std::string no_rev(40, '0');

/// A request as git frames it, and what the hook said in between.
struct Talk {
    std::string wire;
    std::string said;
    PushRequest read() {
        std::string_view rest = wire;
        return read_push_request(
            [&] {
                auto pkt = take_pkt(rest);
                if (!pkt) {
                    fail(ExitCode::kData, "end");
                }
                return *pkt;
            },
            [&](std::string_view text) { said += text; });
    }
};

std::string request(const std::string& features, const std::vector<std::string>& updates) {
    std::string wire = make_pkt("version=1" + (features.empty() ? ""s : "\0"s + features) + "\n");
    wire += kFlushPkt;
    for (const auto& update : updates) {
        wire += make_pkt(update);
    }
    return wire + std::string(kFlushPkt);
}

std::vector<Step> plan(const std::vector<std::string>& lines, const Branches& now = {}) {
    std::vector<RefUpdate> updates;
    updates.reserve(lines.size());
    for (const auto& line : lines) {
        updates.push_back(parse_ref_update(line));
    }
    return plan_push(updates, now);
}

std::string make(const std::string& ref) {
    return fmt::format("{} {} {}", no_rev, some_rev, ref);
}

std::string drop(const std::string& ref) {
    return fmt::format("{} {} {}", some_rev, no_rev, ref);
}

std::string answer(const std::string& machine, const std::string& rest) {
    return R"({"v":1,"machine":")" + machine + R"(","rev":")" + some_rev + "\"" + rest + "}";
}

} // namespace

TEST_CASE("a push request is read as git writes it") {
    Talk plain{request("", {make("refs/heads/www")}), ""};
    auto push = plain.read();
    CHECK_FALSE(push.atomic);
    REQUIRE(push.updates.size() == 1);
    CHECK(push.updates[0].ref == "refs/heads/www");
    CHECK_FALSE(push.updates[0].old_rev);
    CHECK(push.updates[0].new_rev->str() == some_rev);
    CHECK(plain.said == "000eversion=1\n0000");

    Talk full{request("push-options atomic", {make("refs/heads/www")}) + make_pkt("a=b") +
                  std::string(kFlushPkt),
              ""};
    push = full.read();
    CHECK(push.atomic);
    CHECK(push.options == std::vector<std::string>{"a=b"});
    CHECK(full.said == "001bversion=1\0push-options\n0000"s);
}

TEST_CASE("a push request that git would not write is refused") {
    for (const std::string& wire :
         {""s, "0000"s, make_pkt("version=2") + "0000", make_pkt("version=1"), request("", {"x"}),
          request("", {make("")}), request("", {make("refs/heads/a\0b"s)}),
          request("", {std::string(40, 'A') + " " + some_rev + " refs/heads/a"}),
          request("", std::vector<std::string>(200, make("refs/heads/www"))),
          request("push-options", {make("refs/heads/www")})}) {
        Talk talk{wire, ""};
        CHECK_THROWS_AS(talk.read(), Error);
    }
}

TEST_CASE("refs that are no machine's branch are refused with the rule") {
    for (const std::string ref :
         {"refs/heads/dd=ee", "refs/heads/-x", "refs/heads/HEAD", "refs/heads/a/b", "refs/heads/VM",
          "refs/heads/", "refs/heads/a.lock", "refs/heads/.a", "refs/heads/a..b", "refs/heads/a@{",
          "refs/heads/a\nrefs/heads/b", "refs/heads/a\n", "refs/heads/a b",
          "refs/heads/\xc3\xa9"}) {
        INFO(ref);
        const auto steps = plan({make(ref)});
        CHECK(steps[0].kind == Step::Kind::kRefuse);
        CHECK_THAT(steps[0].reason, ContainsSubstring("no machine name: use a-z 0-9 -"));
        CHECK(steps[0].reason.size() <= 60);
    }
    CHECK(plan({make("refs/heads/" + std::string(40, 'a'))})[0].kind == Step::Kind::kBuild);
    CHECK(plan({make("refs/heads/" + std::string(41, 'a'))})[0].kind == Step::Kind::kRefuse);
    for (const std::string ref : {"refs/tags/v1", "refs/for/x", "refs/notes/x", "refs/sky/x",
                                  "HEAD", "refs/head/www", "refs/heads"}) {
        INFO(ref);
        const auto steps = plan({make(ref), drop(ref)});
        CHECK_THAT(steps[0].reason, ContainsSubstring("only branches"));
        CHECK_THAT(steps[1].reason, ContainsSubstring("named twice") || ContainsSubstring("only"));
    }
}

TEST_CASE("what git would refuse after the build is refused before it") {
    const auto www = Machine::parse("www");
    const Branches now{{www, Revision::parse(some_rev)}};
    CHECK(plan({some_rev + " " + other_rev + " refs/heads/www"}, now)[0].kind ==
          Step::Kind::kBuild);
    CHECK(plan({other_rev + " " + some_rev + " refs/heads/www"}, now)[0].kind ==
          Step::Kind::kRefuse);
    CHECK(plan({no_rev + " " + other_rev + " refs/heads/www"}, now)[0].kind == Step::Kind::kRefuse);
    CHECK(plan({some_rev + " " + other_rev + " refs/heads/db"}, now)[0].kind ==
          Step::Kind::kRefuse);
    CHECK(plan({drop("refs/heads/www")}, now)[0].kind == Step::Kind::kDelete);
    for (const auto& step : plan({make("refs/heads/db"), make("refs/heads/db")})) {
        CHECK(step.reason == "named twice in one push");
    }
}

TEST_CASE("only a line that comes back good and cached lets a branch move") {
    const auto all = plan({make("refs/heads/a"), make("refs/heads/b"), make("refs/heads/c"),
                           make("refs/heads/d"), make("refs/heads/e")});
    Answers answers;
    answers.take(answer("a", R"(,"cached":true,"deployment":"x","unknown":[1])"), all);
    answers.take(answer("b", R"(,"error":{"stage":"eval","code":65,"text":"no such\nmachine"})"),
                 all);
    answers.take(answer("b", R"(,"cached":true)"), all); // the error stays
    answers.take(answer("c", ""), all);
    answers.take(answer("e", R"(,"error":null,"cached":true)"), all);
    CHECK_THROWS_AS(answers.take(answer("z", R"(,"cached":true)"), all), Error);
    CHECK_THROWS_AS(
        answers.take(R"({"machine":"d","rev":")" + other_rev + R"(","cached":true})", all), Error);
    CHECK_THROWS_AS(answers.take("not json", all), Error);
    CHECK_THROWS_AS(answers.take("", all), Error);
    auto steps = all;
    answers.settle(steps);
    CHECK(steps[0].kind == Step::Kind::kBuild);
    CHECK(steps[1].reason == "no such?machine");
    CHECK(steps[2].reason == "built, but it did not reach the cache");
    CHECK(steps[3].reason == "the build ended without a verdict");
    CHECK(steps[4].kind == Step::Kind::kBuild);
    CHECK(reply(steps) == make_pkt("ok refs/heads/a") + make_pkt("option fall-through") +
                              make_pkt("ng refs/heads/b no such?machine") +
                              make_pkt("ng refs/heads/c built, but it did not reach the cache") +
                              make_pkt("ng refs/heads/d the build ended without a verdict") +
                              make_pkt("ok refs/heads/e") + make_pkt("option fall-through") +
                              "0000");
}

TEST_CASE("what was known and is not whole in the cache has no verdict until it comes back") {
    const auto all = plan({make("refs/heads/a"), make("refs/heads/b"), make("refs/heads/c")});
    Answers answers;
    const std::string gone = R"(,"error":{"stage":"cache","code":65,"text":"lacks it"})";
    answers.take(answer("a", gone + R"(,"known":true)"), all);
    answers.take(answer("b", gone + R"(,"known":true)"), all);
    answers.take(answer("c", gone), all); // just built: another round would not help
    CHECK(answers.lost() == std::set{Machine::parse("a"), Machine::parse("b")});
    const auto line = pipe_line(all[0], Repo::parse("infra"), new_build_id(), true);
    CHECK(line.at("check") == true);
    answers.take(answer("a", R"(,"cached":true,"check":true)"), all);
    answers.take(answer("b", gone + R"(,"check":true)"), all);
    auto steps = all;
    answers.settle(steps);
    CHECK(steps[0].kind == Step::Kind::kBuild);
    CHECK(steps[1].reason == "lacks it");
    CHECK(steps[2].reason == "lacks it");
}

TEST_CASE("with --atomic one refusal is everybody's") {
    auto steps = plan({make("refs/heads/a"), make("refs/heads/B"), drop("refs/heads/c")},
                      {{Machine::parse("c"), Revision::parse(some_rev)}});
    settle_atomic(steps);
    CHECK_THAT(steps[0].reason, ContainsSubstring("atomic: a ref: no machine name"));
    CHECK_THAT(steps[1].reason, !ContainsSubstring("atomic"));
    CHECK(steps[2].kind == Step::Kind::kRefuse);
    auto good = plan({make("refs/heads/a")});
    settle_atomic(good);
    CHECK(good[0].kind == Step::Kind::kBuild);
}

TEST_CASE("a name with a space can not forge another's answer") {
    const auto steps = plan({make("refs/heads/www forged"), make("refs/heads/a\nb")});
    const auto text = reply(steps);
    CHECK_THAT(text, !ContainsSubstring("forged"));
    CHECK_THAT(text, ContainsSubstring("ng refs/heads/a\nb no machine name"));
}

TEST_CASE("the pipe's line") {
    const auto steps = plan({some_rev + " " + other_rev + " refs/heads/www"},
                            {{Machine::parse("www"), Revision::parse(some_rev)}});
    CHECK(pipe_line(steps[0], Repo::parse("infra"), BuildId::parse("01j8c4uv01j8c4vv")).dump() ==
          R"({"build":"01j8c4uv01j8c4vv","machine":"www","old":")" + some_rev +
              R"(","repo":"infra","rev":")" + other_rev + R"(","v":1})");
}

TEST_CASE("packed-refs: branches alone, damage is an error") {
    const auto branches =
        parse_packed_refs("# pack-refs with: peeled fully-peeled sorted \n" + some_rev +
                          " refs/heads/www\n" + other_rev + " refs/tags/v1\n^" + some_rev + "\n");
    CHECK(branches.size() == 1);
    CHECK(branches.at(Machine::parse("www")).str() == some_rev);
    CHECK(parse_packed_refs("").empty());
    for (const auto& text : {some_rev + " refs/heads/www", some_rev + "refs/heads/www\n", "x\n"s,
                             no_rev + " refs/heads/www\n", some_rev + " refs/heads/../x\n"}) {
        INFO(text);
        CHECK_THROWS_AS(parse_packed_refs(text), Error);
    }
}

TEST_CASE("GIT_PROTOCOL is taken only as git's client writes it") {
    CHECK(checked_protocol("version=2") == "version=2");
    for (const std::string text :
         {"", "version=", "version=3", "version=22", "version=2\n", "version=2:x", "2"}) {
        CHECK_FALSE(checked_protocol(text));
    }
}

TEST_CASE("the table of status") {
    const auto text =
        status_table({nlohmann::json::parse(R"({"machine":"infra/www","branch":")" + some_rev +
                                            R"(","rev":null,"state":"failed","host":"n1",
            "since":null,"address":["10.0.0.1","10.0.0.2"],"restarts":0,"why":"no\u001b room"})")});
    CHECK(text == "MACHINE    BRANCH    RUNS  STATE   HOST  ADDRESS            SINCE  WHY\n"
                  "infra/www  aaaaaaaa  -     failed  n1    10.0.0.1,10.0.0.2  -      no? room\n");
}
