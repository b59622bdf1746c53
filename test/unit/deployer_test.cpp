// SPDX-License-Identifier: MIT
#include "catch.hpp"
#include "unit/submit.hpp"

#include <sky-nomad-submit/deployer.hpp>
#include <sky-nomad-submit/orders.hpp>
#include <sky-nomad-submit/supervised.hpp>
#include <sky/state.hpp>

#include <algorithm>

using namespace sky;
using namespace sky::submit;
using namespace sky::submit::test;
using Kind = Order::Kind;

namespace {

/// A host on which a revision gets ready or does not, as the test says.
class FakeHost : public Scheduler {
  public:
    std::set<Revision> broken;            ///< revisions that do not get ready
    bool away = false;                    ///< the host does not answer
    std::optional<Lack> lack;             ///< of room, if a host died
    int lacks = 1000;                     ///< so many times, then it has passed
    std::map<MachinePath, Amount> beside; ///< who was named to it, with what was granted
    Placing placing;                      ///< of the last start
    bool sees = false;                    ///< what is ready can be seen without asking
    std::vector<std::string> calls;
    std::optional<MachineState> now; ///< the one machine

    std::vector<Json> enrol(const Tenant& /*tenant*/, const Repo& /*repo*/,
                            const std::vector<Machine>& /*machines*/,
                            std::int64_t /*max*/) override {
        return {};
    }
    std::optional<MachineState> ready(const Spec& spec) override {
        return sees && now && now->state == "ready" && now->spec == spec.hash() ? now
                                                                                : std::nullopt;
    }
    Outcome start(const Spec& spec, const Placing& granted, const Watch& watch) override {
        placing = granted;
        if (away) {
            fail(ExitCode::kUnavailable, "nobody there");
        }
        calls.push_back("start " + spec.rev.str().substr(0, 1));
        const bool same = now && now->state == "ready" && now->spec == spec.hash();
        now = MachineState{.path = spec.path,
                           .state = broken.contains(spec.rev) ? "failed" : "ready",
                           .rev = spec.rev,
                           .spec = spec.hash(),
                           .since = same ? now->since : "9999-01-01T00:00:00Z",
                           .address = {"10.88.1.10"},
                           .restarts = 0,
                           .why = std::nullopt,
                           .lives = true};
        if (!same && now->state == "ready") {
            now->since = next_since;
        }
        if (now->state == "failed") {
            now->why = "port 80 did not open in 90 s";
        }
        watch(*now);
        return {.exit_code = now->state == "ready" ? 0 : 1, .last = now, .said = {}};
    }
    std::optional<Lack> not_spared(const Spec& /*spec*/, const std::set<MachinePath>& coming,
                                   const Granted& granted) override {
        beside.clear();
        for (const auto& each : coming) {
            beside.emplace(each, granted(each).value());
        }
        calls.emplace_back("spare");
        return lacks-- > 0 ? lack : std::nullopt;
    }
    Outcome stop(const MachinePath& machine, bool forget, const Watch& /*watch*/) override {
        calls.push_back(forget ? "forget" : "stop");
        return {.exit_code = away ? 69 : 0,
                .last = MachineState{.path = machine,
                                     .state = "stopped",
                                     .rev = std::nullopt,
                                     .spec = std::nullopt,
                                     .since = std::nullopt,
                                     .address = {},
                                     .restarts = 0,
                                     .why = std::nullopt,
                                     .lives = false},
                .said = "busy"};
    }
    Outcome restart(const MachinePath& /*machine*/, const Watch& /*watch*/) override {
        calls.emplace_back("restart");
        return {.exit_code = 0, .last = now, .said = {}};
    }
    std::vector<MachineState> list(const std::optional<Tenant>& /*tenant*/) override { return {}; }
    std::set<MachinePath> watched(const Tenant& /*tenant*/) override { return {}; }
    int logs(const MachinePath& /*machine*/, bool /*follow*/, std::int64_t /*lines*/) override {
        return 0;
    }

    std::string next_since = "2000-01-01T00:00:00Z";
};

struct Site {
    Scratch scratch;
    Config policy = config(scratch.path);
    MachinePath www = path("alice", "infra", "www");
    FakeHost host;
    Records records{scratch.path};
    std::vector<std::string> said;
    Registry registry;

    Site() {
        static_cast<void>(register_machine(registry, registry_limits(policy), www));
        save_registry(scratch.path, registry, std::nullopt);
        for (const char digit : {'a', 'b', 'c'}) {
            deployed(digit, manifest_for(*registry.find(www)));
        }
    }
    void deployed(char digit, const Json& manifest) const {
        const auto file = record_path(scratch.path, www, rev(digit));
        make_directories(file.parent_path(), 0700);
        atomic_write(file, print_record(record_of(www, rev(digit), manifest)), {.durable = false});
    }
    Verdict order(Kind kind, std::optional<Revision> revision = std::nullopt,
                  std::optional<Revision> to = std::nullopt) {
        Deployer deployer(policy, host, [&](const std::string& line) { said.push_back(line); });
        return deployer.carry_out(
            {.kind = kind, .path = www, .rev = revision, .to = to, .session = std::nullopt});
    }
    [[nodiscard]] MachineRecord record() const { return records.load(www).value(); }
};

} // namespace

TEST_CASE("a push brings a machine up and writes down what it did") {
    Site site;
    const auto verdict = site.order(Kind::kDeploy, rev('a'));
    CHECK(verdict.code == 0);
    CHECK(verdict.text == "running on n1, 10.88.1.10");
    CHECK(site.record().rev == rev('a'));
    CHECK(site.record().did.state == MachineRecord::State::kRunning);
    CHECK(site.record().good == std::vector{rev('a')});
    CHECK(site.record().granted == Amount{.vcpu = 1, .mem_mib = 512, .disk_mib = 2048});
    CHECK(site.order(Kind::kResume).text == "same system as before, not restarted");
}

TEST_CASE("what is seen to be ready is not asked to start") {
    Site site;
    site.host.sees = true;
    CHECK(site.order(Kind::kDeploy, rev('a')).text == "running on n1, 10.88.1.10");
    CHECK(site.order(Kind::kDeploy, rev('a')).text == "same system as before, not restarted");
    CHECK(site.host.calls == std::vector<std::string>{"start a"});
    CHECK(site.order(Kind::kDeploy, rev('b')).text == "running on n1, 10.88.1.10");
    CHECK(site.host.calls == std::vector<std::string>{"start a", "start b"});
}

TEST_CASE("a restart is not called the same system") {
    Site site;
    static_cast<void>(site.order(Kind::kDeploy, rev('a')));
    site.host.now.reset(); // it died
    site.host.next_since = "9998-01-01T00:00:00Z";
    CHECK(site.order(Kind::kDeploy, rev('a')).text == "running on n1, 10.88.1.10");
}

TEST_CASE("a machine that does not get ready goes back to its last good revision") {
    Site site;
    static_cast<void>(site.order(Kind::kDeploy, rev('a')));
    site.host.broken = {rev('b'), rev('c')};
    const auto verdict = site.order(Kind::kDeploy, rev('b'));
    CHECK(verdict.code == 1);
    CHECK(verdict.text == "bbbbbbb held back: port 80 did not open in 90 s");
    CHECK(site.host.calls == std::vector<std::string>{"start a", "start b", "start a"});
    auto record = site.record();
    CHECK(record.rev == rev('b'));
    CHECK(record.pin->rev == rev('a'));
    CHECK(record.did.rev == rev('a'));
    CHECK(record.did.state == MachineRecord::State::kRunning);
    CHECK(record.did.why == verdict.text);
    CHECK(record.good == std::vector{rev('a')});

    // Brought up again after it died, it is still held back.
    const auto again = site.order(Kind::kResume);
    CHECK(again.code == 1);
    CHECK(again.text == verdict.text);
    CHECK(site.record().did.why == verdict.text);

    // The next push clears the pin, and is held back for itself; one that works is not.
    CHECK_THAT(site.order(Kind::kDeploy, rev('c')).text, ContainsSubstring("ccccccc held back"));
    site.host.broken.clear();
    CHECK(site.order(Kind::kDeploy, rev('c')).code == 0);
    record = site.record();
    CHECK_FALSE(record.pin);
    CHECK_FALSE(record.did.why);
    CHECK(record.good == std::vector{rev('c'), rev('a')});
}

TEST_CASE("a machine that never ran has nothing to go back to") {
    Site site;
    site.host.broken = {rev('a')};
    const auto verdict = site.order(Kind::kDeploy, rev('a'));
    CHECK(verdict.code == 1);
    CHECK(verdict.stage == "start");
    CHECK(site.record().did.state == MachineRecord::State::kFailed);
    CHECK_FALSE(site.record().pin);
    CHECK(site.host.calls.size() == 1);
}

TEST_CASE("a scheduler that is away holds nothing back") {
    Site site;
    static_cast<void>(site.order(Kind::kDeploy, rev('a')));
    site.host.away = true;
    const auto verdict = site.order(Kind::kDeploy, rev('b'));
    CHECK(verdict.code == 69);
    CHECK(site.record().did.state == MachineRecord::State::kFailed);
    CHECK_FALSE(site.record().pin);
    site.host.away = false;
    CHECK(site.order(Kind::kResume).code == 0);
    CHECK(site.record().did.rev == rev('b'));
}

TEST_CASE("what is refused leaves what runs alone, and its grant too") {
    Site site;
    static_cast<void>(site.order(Kind::kDeploy, rev('a')));
    Json big = manifest_for(*site.registry.find(site.www));
    big["mem_mib"] = 4096;
    site.deployed('b', big);
    const auto verdict = site.order(Kind::kDeploy, rev('b'));
    CHECK(verdict.code == 77);
    CHECK(verdict.stage == "admit");
    CHECK(verdict.text == "mem_mib: asked 4096, allowed 1024 for a machine");
    CHECK(site.host.calls.size() == 1);
    CHECK(site.record().granted.mem_mib == 512);
    CHECK(site.order(Kind::kDeploy, rev('d')).code == 77); // never built
    CHECK(site.host.calls.size() == 1);
}

TEST_CASE("a machine does not count against itself, another one does") {
    Site site;
    Json big = manifest_for(*site.registry.find(site.www));
    big["mem_mib"] = 1024;
    site.deployed('a', big);
    site.deployed('b', big);
    MachineRecord other;
    other.rev = rev('a');
    other.granted = {.vcpu = 1, .mem_mib = 1024, .disk_mib = 0};
    const auto db = path("alice", "two", "db");
    site.records.prepare(db);
    site.records.save(db, other);
    CHECK(site.order(Kind::kDeploy, rev('a')).code == 0);
    CHECK(site.order(Kind::kDeploy, rev('b')).code == 0);
    other.granted.mem_mib = 1025;
    site.records.save(db, other);
    CHECK(site.order(Kind::kDeploy, rev('c')).code == 0); // 512
    CHECK(site.order(Kind::kDeploy, rev('a')).text ==
          "mem_mib: asked 1024, used 1025, allowed 2048");
}

TEST_CASE("N+1: what no lost host leaves room for is refused, or warned of") {
    Site site;
    site.policy.nomad.emplace();
    MachineRecord other;
    other.rev = rev('a');
    other.granted = {.vcpu = 1, .mem_mib = 256, .disk_mib = 0};
    for (const auto& each : {path("alice", "two", "db"), path("bob", "two", "db")}) {
        site.records.prepare(each);
        site.records.save(each, other);
        site.records.set_out(each);
        other.want_running = false; // the second takes no room
    }
    CHECK(site.order(Kind::kDeploy, rev('a')).code == 0);
    CHECK(site.host.calls == std::vector<std::string>{"spare", "start a"});
    CHECK(site.host.beside ==
          std::map<MachinePath, Amount>{{path("alice", "two", "db"), other.granted}});
    // The second was forgotten for that, and the one that was brought up is the scheduler's now.
    CHECK(site.records.on_their_way() == std::set{path("alice", "two", "db")});

    // It is there already, and grows: only then it is asked.
    site.host.lack = {.text = "n1 must not die: mem_mib: asked 700, used 512, allowed 1000",
                      .passing = false};
    CHECK(site.order(Kind::kDeploy, rev('b')).code == 0);
    CHECK(site.host.calls.back() == "start b");
    CHECK(site.said.empty());
    Json big = manifest_for(*site.registry.find(site.www));
    big["mem_mib"] = 700;
    site.deployed('c', big);
    site.said.clear();
    CHECK(site.order(Kind::kDeploy, rev('c')).code == 0);
    REQUIRE_FALSE(site.said.empty());
    CHECK_THAT(site.said.front(), ContainsSubstring("warning: www: n1 must not die"));

    CHECK(site.order(Kind::kStop).code == 0);
    site.policy.nomad->spare_refuses = true;
    const auto verdict = site.order(Kind::kDeploy, rev('c'));
    CHECK(verdict.code == 77);
    CHECK(verdict.stage == "admit");
    CHECK(verdict.text == site.host.lack->text);
    CHECK(site.host.calls.back() == "spare"); // nothing was started

    // Hosts that are away have it: they come back, or do not.
    site.host.lack->passing = true;
    site.policy.nomad->place_s = 1;
    CHECK(site.order(Kind::kDeploy, rev('c')).text == site.host.lack->text);
    site.policy.nomad->place_s = 60;
    site.host.lacks = 1;
    CHECK(site.order(Kind::kDeploy, rev('c')).code == 0);
    CHECK(site.host.calls.back() == "start c");
}

TEST_CASE("a tenant asks for a place that the operator lets it ask for", "[nomad]") {
    Site site;
    Json manifest = manifest_for(*site.registry.find(site.www));
    manifest["placement"] = {{"ask", {"fast"}}, {"apart", {"db"}}};
    site.deployed('a', manifest);
    CHECK(site.order(Kind::kDeploy, rev('a')).text == "placement: asked 'fast', allowed none");
    site.policy.tenants.at(site.www.tenant).may_ask = {"fast", "big"};
    CHECK(site.order(Kind::kDeploy, rev('a')).text ==
          "placement: apart from 'db': there is but one host");
    site.policy.nomad.emplace();
    MachineRecord other; // that will not be beside it
    other.rev = rev('a');
    other.apart = {site.www};
    const auto shy = path("alice", "two", "shy");
    site.records.prepare(shy);
    site.records.save(shy, other);
    CHECK(site.order(Kind::kDeploy, rev('a')).code == 0);
    CHECK(site.host.placing.placements == std::vector<std::string>{"fast"});
    CHECK(site.host.placing.apart == std::vector{path("alice", "infra", "db"), shy});
    CHECK(site.record().apart == std::vector{path("alice", "infra", "db")});
}

TEST_CASE("stop is remembered until the next push") {
    Site site;
    static_cast<void>(site.order(Kind::kDeploy, rev('a')));
    CHECK(site.order(Kind::kStop).state == "stopped");
    CHECK_FALSE(site.record().want_running);
    CHECK(site.order(Kind::kResume).quiet);
    CHECK(site.host.calls == std::vector<std::string>{"start a", "stop"});
    CHECK(site.order(Kind::kDeploy, rev('b')).code == 0);
    CHECK(site.record().want_running);
    CHECK(site.order(Kind::kSettle).quiet); // it should run
    CHECK(site.record().did.state == MachineRecord::State::kRunning);
}

TEST_CASE("rollback pins the revision that ran before, or the one named") {
    Site site;
    for (const char digit : {'a', 'b', 'c'}) {
        static_cast<void>(site.order(Kind::kDeploy, rev(digit)));
    }
    CHECK(site.order(Kind::kRollback, rev('c')).code == 0);
    CHECK(site.record().pin->rev == rev('b'));
    CHECK(site.record().rev == rev('c'));
    CHECK(site.order(Kind::kRollback, rev('c'), rev('a')).code == 0);
    CHECK(site.record().did.rev == rev('a'));
    CHECK_THROWS_AS(site.order(Kind::kRollback, rev('c'), rev('d')), Error);
    CHECK(site.record().pin->rev == rev('a')); // nothing changed
    CHECK(site.order(Kind::kRollback, rev('c'), rev('c')).code == 0);
    CHECK_FALSE(site.record().pin);
}

TEST_CASE("a deleted branch leaves no record, unless the stop failed") {
    Site site;
    static_cast<void>(site.order(Kind::kDeploy, rev('a')));
    site.host.away = true;
    CHECK(site.order(Kind::kForget).code == 69);
    CHECK_FALSE(site.record().rev);
    site.host.away = false;
    CHECK(site.order(Kind::kForget).text == "stopped; its volumes are kept for 30 days");
    CHECK_FALSE(site.records.load(site.www));
    CHECK(site.order(Kind::kForget).quiet);
    CHECK_THROWS_AS(site.order(Kind::kStop), Error);
}

TEST_CASE("restart restarts what runs and starts what does not") {
    Site site;
    CHECK_THROWS_AS(site.order(Kind::kRestart), Error);
    static_cast<void>(site.order(Kind::kDeploy, rev('a')));
    CHECK(site.order(Kind::kRestart).code == 0);
    static_cast<void>(site.order(Kind::kStop));
    CHECK(site.order(Kind::kRestart).code == 0);
    CHECK(site.host.calls == std::vector<std::string>{"start a", "restart", "stop", "start a"});
}

TEST_CASE("records are strict and survive being written and read") {
    Site site;
    static_cast<void>(site.order(Kind::kDeploy, rev('a')));
    MachineRecord record = site.record();
    record.pin = MachineRecord::Pin{.rev = rev('b'), .why = "because"};
    record.did.why = std::string(500, 'x');
    const auto again = MachineRecord::parse(record.dump());
    CHECK(again.pin == record.pin);
    CHECK(again.did.why->size() == 203);
    for (int i = 1; i < 12; ++i) {
        record.note_good(rev("123456789abcdef"[i]));
    }
    CHECK(record.good.size() == kGoodMost);
    CHECK_NOTHROW(MachineRecord::parse(record.dump()));
    CHECK_THROWS_AS(MachineRecord::parse(R"({"v":1})"), Error);
    // Locks and half-written files beside records are no records.
    site.records.prepare(path("alice", "infra", "x"));
    CHECK(site.records.of_tenant(site.www.tenant).size() == 1);
    CHECK(site.records.of_tenant(Tenant::parse("bob")).empty());
}

TEST_CASE("supervisors are found in /proc, and only root's count") {
    const Scratch scratch;
    Config policy = config();
    policy.bin = "/usr/bin";
    policy.file = "/etc/skyflake/config.json";
    const auto process = [&](const std::string& pid, std::vector<std::string> args,
                             const std::string& uids) {
        std::string line;
        for (const auto& arg : args) {
            line += arg + std::string(1, '\0');
        }
        make_directories(scratch.path / pid, 0700);
        atomic_write(scratch.path / pid / "cmdline", line, {.durable = false});
        atomic_write(scratch.path / pid / "status",
                     "Name:\tsky-vm-run\nUid:\t" + uids + "\nGid:\t0\n", {.durable = false});
    };
    const std::string tool = "/usr/bin/sky-vm-run";
    const std::string file = "/etc/skyflake/config.json";
    const std::string root = "0\t0\t0\t0";
    process("1", {tool, "--config", file, "run", "alice.infra.www"}, root);
    process("2", {tool, "--config", file, "run", "alice.infra.faked"}, "3001\t3001\t3001\t3001");
    process("3", {tool, "--config", file, "run", "alice.infra.mixed"}, "3001\t0\t0\t0");
    process("4", {tool, "--config", "/other", "run", "alice.infra.elsewhere"}, root);
    process("5", {tool, "--config", file, "run", "bob.infra.www"}, root);
    process("6", {tool, "--config", file, "start"}, root);
    process("7", {tool, "--config", file, "run", "../../x"}, root);
    process("self", {tool, "--config", file, "run", "alice.infra.self"}, root);
    make_directories(scratch.path / "8", 0700); // ended meanwhile
    CHECK(supervised(policy, Tenant::parse("alice"), scratch.path) ==
          std::set{path("alice", "infra", "www")});
}

TEST_CASE("verdicts are broken into lines of a terminal") {
    const auto lines = wrapped("error: www:", std::string(30, 'a') + " " + std::string(30, 'b') +
                                                  " " + std::string(90, 'c') + " d");
    CHECK(lines == std::vector<std::string>{"error: www: " + std::string(30, 'a'),
                                            "       " + std::string(30, 'b'),
                                            "       " + std::string(90, 'c'), "       d"});
    CHECK(wrapped("error: www:", "no room") == std::vector<std::string>{"error: www: no room"});
}
