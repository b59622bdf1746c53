// SPDX-License-Identifier: MIT
#include "catch.hpp"
#include "unit/submit.hpp"

#include <sky-nomad-submit/plan.hpp>
#include <sky-nomad-submit/status.hpp>

using namespace sky;
using namespace sky::submit;
using namespace sky::submit::test;
using State = MachineRecord::State;
using Kind = Step::Kind;

namespace {

const BuildId kNow = BuildId::parse("0123456789abcdef");
const BuildId kEarlier = BuildId::parse("0123456789abcdee");

MachineRecord record(const Revision& branch, State state, const std::optional<Revision>& did) {
    MachineRecord out;
    out.rev = branch;
    out.did = {.state = state,
               .rev = did,
               .spec = std::nullopt,
               .at = "2026-11-22T10:00:00Z",
               .session = kEarlier,
               .why = std::nullopt};
    return out;
}

/// A repository with one machine, which the host looks after.
RepoView view(const Branches& branches, const std::optional<MachineRecord>& www) {
    const auto machine = Machine::parse("www");
    RepoView out{.branches = branches,
                 .records = {},
                 .registered = {},
                 .watched = {machine},
                 .session = kNow};
    if (www) {
        out.records.emplace(machine, *www);
        out.registered.insert(machine);
    }
    return out;
}

std::vector<Kind> plan(const Branches& branches, const MachineRecord& www) {
    std::vector<Kind> kinds;
    for (const auto& step : plan_ensure(view(branches, www))) {
        kinds.push_back(step.kind);
    }
    return kinds;
}

MachineState seen(const MachinePath& who, const std::string& state) {
    return {.path = who,
            .state = state,
            .rev = rev('a'),
            .spec = std::nullopt,
            .since = "2026-11-22T11:00:00Z",
            .address = {"10.88.1.10"},
            .restarts = 2,
            .why = std::nullopt,
            .lives = false};
}

const Branches kWwwAtA{{"www", rev('a')}};

} // namespace

TEST_CASE("ensure has nothing to do when everything is as the branches say") {
    CHECK(plan(kWwwAtA, record(rev('a'), State::kRunning, rev('a'))).empty());
    auto stopped = record(rev('a'), State::kStopped, rev('a'));
    stopped.want_running = false;
    CHECK(plan(kWwwAtA, stopped).empty());
    auto back = record(rev('a'), State::kRunning, rev('b'));
    back.pin = MachineRecord::Pin{.rev = rev('b'), .why = "rolled back"};
    CHECK(plan(kWwwAtA, back).empty());
}

TEST_CASE("ensure finishes what a scheduler that died left behind") {
    // Never heard of, heard of but not started, started something older, stopped by a crash.
    const auto fresh = plan_ensure(view(kWwwAtA, std::nullopt));
    REQUIRE(fresh.size() == 1);
    CHECK(fresh[0].kind == Kind::kDeploy);
    CHECK(fresh[0].rev == rev('a'));
    CHECK(plan(kWwwAtA, record(rev('a'), State::kStopped, std::nullopt)) ==
          std::vector{Kind::kResume});
    CHECK(plan(kWwwAtA, record(rev('a'), State::kRunning, rev('b'))) == std::vector{Kind::kResume});
    CHECK(plan(kWwwAtA, record(rev('b'), State::kRunning, rev('b'))) == std::vector{Kind::kDeploy});
    auto unstopped = record(rev('a'), State::kRunning, rev('a'));
    unstopped.want_running = false;
    CHECK(plan(kWwwAtA, unstopped) == std::vector{Kind::kStop});
}

TEST_CASE("ensure tries a failed start again, but not in the session that failed") {
    auto failed = record(rev('a'), State::kFailed, rev('a'));
    failed.did.why = "no room";
    CHECK(plan(kWwwAtA, failed) == std::vector{Kind::kResume});
    failed.did.session = kNow;
    const auto steps = plan_ensure(view(kWwwAtA, failed));
    REQUIRE(steps.size() == 1);
    CHECK(steps[0].kind == Kind::kReport);
    CHECK(steps[0].why == "no room");
    CHECK(steps[0].told);
    // Another push in between is another matter.
    CHECK(plan({{"www", rev('c')}}, failed) == std::vector{Kind::kDeploy});
    // Nobody's session equals nobody's.
    failed.did.session = std::nullopt;
    auto nobodys = view(kWwwAtA, failed);
    nobodys.session.reset();
    CHECK(plan_ensure(nobodys).at(0).kind == Kind::kResume);
}

TEST_CASE("a machine that is held back is reported and left alone") {
    auto held = record(rev('a'), State::kRunning, rev('b'));
    held.pin = MachineRecord::Pin{.rev = rev('b'), .why = "a held back"};
    held.did.why = "aaaaaaa held back: not ready";
    CHECK(plan(kWwwAtA, held) == std::vector{Kind::kReport});
    CHECK_FALSE(plan_ensure(view(kWwwAtA, held))[0].told);
    CHECK(plan({{"www", rev('c')}}, held) == std::vector{Kind::kDeploy});
}

TEST_CASE("a machine that nobody looks after is looked at, unless it should not run") {
    const auto unwatched = [](const MachineRecord& www) {
        auto out = view(kWwwAtA, www);
        out.watched.clear();
        return plan_ensure(out);
    };
    const auto fine = record(rev('a'), State::kRunning, rev('a'));
    REQUIRE(unwatched(fine).size() == 1);
    CHECK(unwatched(fine)[0].kind == Kind::kCheck);
    auto stopped = record(rev('a'), State::kStopped, rev('a'));
    stopped.want_running = false;
    CHECK(unwatched(stopped).empty());
}

TEST_CASE("what has no branch any more is forgotten, what is no machine is passed over") {
    CHECK(plan({}, record(rev('a'), State::kRunning, rev('a'))) == std::vector{Kind::kForget});
    CHECK(plan({{"www", rev('a')}, {"feature/x", rev('a')}, {"Main", rev('a')}},
               record(rev('a'), State::kRunning, rev('a')))
              .empty());
    // Its first build failed: nothing but an identity is left.
    auto unborn = view({}, std::nullopt);
    unborn.registered.insert(Machine::parse("db"));
    const auto steps = plan_ensure(unborn);
    REQUIRE(steps.size() == 1);
    CHECK(steps[0].kind == Kind::kForget);
    CHECK(steps[0].machine == Machine::parse("db"));
}

TEST_CASE("reconcile starts what should run and stops what should not") {
    const auto a = path("alice", "infra", "a");
    const auto b = path("alice", "infra", "b");
    const auto c = path("alice", "infra", "c");
    const auto d = path("bob", "infra", "a");
    Records::All records{{a, record(rev('a'), State::kRunning, rev('a'))},
                         {b, record(rev('a'), State::kRunning, rev('a'))},
                         {c, record(rev('a'), State::kStopped, rev('a'))}};
    records.at(c).want_running = false;
    const auto repairs = plan_repairs(
        records, {seen(a, "ready"), seen(b, "failed"), seen(c, "backoff"), seen(d, "running")});
    CHECK(repairs == std::vector<Repair>{{.kind = Repair::Kind::kResume, .path = b},
                                         {.kind = Repair::Kind::kStop, .path = c},
                                         {.kind = Repair::Kind::kStop, .path = d}});
    CHECK(
        plan_repairs(records, {seen(a, "ready"), seen(b, "fetching"), seen(c, "stopped")}).empty());
    CHECK(plan_repairs({{a, records.at(a)}}, {}).size() == 1);
    auto resting = seen(a, "stopped");
    resting.why = "it powered itself off";
    CHECK(plan_repairs({{a, records.at(a)}}, {resting}).empty());
    resting.why = "the supervisor was told to stop"; // the host went down
    CHECK(plan_repairs({{a, records.at(a)}}, {resting}).size() == 1);
    auto unready = seen(c, "failed"); // never got ready, and lives
    unready.lives = true;
    CHECK(plan_repairs({{c, records.at(c)}}, {unready}).size() == 1);
}

TEST_CASE("status joins branches, records and what runs") {
    const auto www = path("alice", "infra", "www");
    const auto db = path("alice", "infra", "db");
    auto held = record(rev('a'), State::kRunning, rev('b'));
    held.pin = MachineRecord::Pin{.rev = rev('b'), .why = "held"};
    held.did.why = "aaaaaaa held back: not ready";
    const Records::All records{{www, held}, {path("alice", "other", "x"), held}};
    auto up = seen(www, "ready");
    up.rev = rev('b');
    const auto rows =
        join_status(www.tenant, www.repo, {{"www", rev('a')}, {"db", rev('c')}}, records,
                    {up, seen(path("bob", "infra", "db"), "ready")}, "n1", std::nullopt);
    REQUIRE(rows.size() == 2);
    CHECK(rows[0].json() == Json{{"machine", "infra/db"},
                                 {"branch", rev('c').str()},
                                 {"rev", nullptr},
                                 {"state", "stopped"},
                                 {"host", "n1"},
                                 {"since", nullptr},
                                 {"address", Json::array()},
                                 {"restarts", 0},
                                 {"why", "not started yet"}});
    CHECK(rows[1].branch == rev('a'));
    CHECK(rows[1].rev == rev('b'));
    CHECK(rows[1].state == "running");
    CHECK(rows[1].why == "aaaaaaa held back: not ready");
    CHECK(rows[1].address == std::vector<std::string>{"10.88.1.10"});
    CHECK(join_status(www.tenant, www.repo, kWwwAtA, records, {}, "n1", Machine::parse("db"))
              .empty());
}

TEST_CASE("status says why a machine does not run, in a tenant's words") {
    const auto www = path("alice", "infra", "www");
    const auto row = [&](const MachineRecord& r, const std::vector<MachineState>& s) {
        return join_status(www.tenant, www.repo, kWwwAtA, {{www, r}}, s, "n1", std::nullopt).at(0);
    };
    auto failed = record(rev('a'), State::kFailed, rev('a'));
    failed.did.why = "vcpu: asked 9, used 1, allowed 4";
    CHECK(row(failed, {}).state == "failed");
    CHECK(row(failed, {}).why == failed.did.why);
    auto stopped = record(rev('a'), State::kStopped, rev('a'));
    stopped.want_running = false;
    CHECK(row(stopped, {seen(www, "stopped")}).why == "stopped on request");
    CHECK(row(stopped, {seen(www, "stopped")}).address.empty());
    auto backoff = seen(www, "backoff");
    backoff.why = "exited with 1";
    const auto running = record(rev('a'), State::kRunning, rev('a'));
    CHECK(row(running, {backoff}).why == "exited with 1");
    CHECK(row(running, {seen(www, "running")}).state == "starting");
    CHECK(row(running, {seen(www, "fetching")}).state == "starting");
    // The same system under a later commit, and a refused commit behind which the old one runs.
    auto same = record(rev('c'), State::kRunning, rev('c'));
    same.did.spec = "0123";
    auto up = seen(www, "ready");
    up.spec = "0123";
    CHECK(row(same, {up}).rev == rev('c'));
    same.did.state = State::kFailed;
    CHECK(row(same, {up}).rev == rev('a'));
    const auto table = status_table({row(failed, {})});
    CHECK_THAT(table, ContainsSubstring("infra/www"));
    CHECK_THAT(table, ContainsSubstring("allowed 4"));
}
