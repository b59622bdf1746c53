// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <sky-vm-run/lease.hpp>
#include <sky/error.hpp>
#include <sky/fd.hpp>

#include <filesystem>
#include <functional>
#include <map>
#include <unistd.h>

using namespace sky;
using namespace sky::vm;
using std::chrono::nanoseconds;
using std::chrono::seconds;

namespace {

/// The leases in memory, with what somebody else does before the next write.
class MemoryLeases final : public LeaseStore {
  public:
    std::optional<Read> read(const std::string& host) override {
        need_contact();
        const auto at = all.find(host);
        return at == all.end() ? std::nullopt : std::optional(at->second);
    }
    std::optional<std::uint64_t> write(const LeaseRecord& lease, std::uint64_t index) override {
        if (between) {
            std::exchange(between, {})();
        }
        need_contact();
        const auto at = all.find(lease.host);
        if ((at == all.end() ? 0 : at->second.index) != index) {
            return std::nullopt;
        }
        all[lease.host] = {lease, ++last};
        if (lost) {
            lost = false;
            fail(ExitCode::kUnavailable, "the answer got lost");
        }
        return last;
    }
    bool down(const std::string& host) override {
        need_contact();
        return is_down == host;
    }
    void need_contact() const {
        if (away) {
            fail(ExitCode::kUnavailable, "no contact");
        }
    }
    /// What another host does to a record.
    void change(const std::string& host, const std::function<void(LeaseRecord&)>& how) {
        how(all.at(host).lease);
        all.at(host).index = ++last;
    }

    std::map<std::string, Read> all;
    std::uint64_t last = 10;
    std::function<void()> between;
    std::string is_down;
    bool away = false;
    bool lost = false;
};

struct Directory {
    Directory() {
        std::string text = "/tmp/sky-lease.XXXXXX";
        REQUIRE(::mkdtemp(text.data()) != nullptr);
        path = text;
    }
    ~Directory() { std::filesystem::remove_all(path); }
    Directory(const Directory&) = delete;
    Directory& operator=(const Directory&) = delete;
    std::filesystem::path path;
};

/// One host's lease process.
struct Host {
    explicit Host(MemoryLeases& store, const std::filesystem::path& file)
        : holder(store, "n2", seconds(30), file,
                 {.end_all =
                      [this] {
                          if (stuck) {
                              fail(ExitCode::kBusy, "process 7 does not end");
                          }
                          ++ended;
                      },
                  .give_up =
                      [this](const LeaseClaim& claim) {
                          asked.push_back(claim.machine);
                          return given_up;
                      }}) {}
    int ended = 0;
    bool stuck = false;
    bool given_up = false;
    std::vector<std::string> asked;
    LeaseHolder holder;
};

LeaseRecord lease_of(const std::string& incarnation, std::uint64_t serial) {
    return {.host = "n2",
            .incarnation = incarnation,
            .serial = serial,
            .lease_s = 30,
            .revoked = false,
            .claims = {},
            .at = "2026-11-22T10:00:00Z"};
}

const Holder kHolder{.host = "n2", .incarnation = "aa", .generation = 3};

const LeaseClaim kClaim{.machine = "alice.infra.www", .generation = 3, .by = "n1"};

} // namespace

TEST_CASE("a lease is what was written", "[lease]") {
    LeaseRecord lease = lease_of("aa", 17);
    lease.claims = {kClaim};
    lease.revoked = true;
    CHECK(LeaseRecord::parse(lease.dump()) == lease);
    CHECK(lease.claimed("alice.infra.www", 3));
    CHECK_FALSE(lease.claimed("alice.infra.www", 4));
    CHECK_FALSE(lease.claimed("alice.infra.db", 3));
    CHECK_THROWS_AS(LeaseRecord::parse("{}"), Error);
    CHECK_THROWS_AS(LeaseRecord::parse(lease.dump().insert(1, "\"more\":1,")), Error);
}

TEST_CASE("a deadline is seen by whoever has it mapped, and belongs to one incarnation",
          "[lease]") {
    const Directory in;
    const auto file = in.path / "lease.deadline";
    CHECK_FALSE(Deadline::open(file));
    Deadline mine = Deadline::make(file, new_incarnation());
    const auto guard = Deadline::open(file);
    REQUIRE(guard);
    CHECK(guard->incarnation() == mine.incarnation());
    CHECK(guard->past());
    mine.set(boot_clock() + seconds(100));
    CHECK_FALSE(guard->past());
    CHECK(guard->get() == mine.get());
    SECTION("the next one gives the one before no time") {
        mine.set(nanoseconds::zero());
        Deadline next = Deadline::make(file, new_incarnation());
        next.set(boot_clock() + seconds(100));
        CHECK(guard->past());
        CHECK_FALSE(Deadline::open(file)->past());
    }
    SECTION("one of another boot, or half a file, is none") {
        auto text = read_file(file, 1024);
        text.back() = text.back() == '0' ? '1' : '0';
        atomic_write(file, text);
        CHECK_FALSE(Deadline::open(file));
        atomic_write(file, "x");
        CHECK_FALSE(Deadline::open(file));
    }
    SECTION("a timer looks again, and tells when it has passed") {
        DeadlineTimer timer(Deadline::open(file));
        CHECK_FALSE(timer.passed());
        mine.set(nanoseconds::zero());
        CHECK(timer.passed());
        CHECK_FALSE(DeadlineTimer(std::nullopt).passed());
    }
}

TEST_CASE("a lease is renewed from the moment before it was sent", "[lease]") {
    const Directory in;
    MemoryLeases store;
    Host host(store, in.path / "lease.deadline");
    CHECK(host.holder.deadline().past());
    const auto before = boot_clock();
    nanoseconds sent{};
    store.between = [&] { sent = boot_clock(); };
    CHECK(host.holder.renew());
    CHECK(host.ended == 1); // nobody knows what an earlier life of this host left
    CHECK(host.holder.deadline().get() >= before + seconds(30));
    CHECK(host.holder.deadline().get() <= sent + seconds(30));
    const auto first = store.all.at("n2").lease;
    CHECK(host.holder.renew());
    CHECK(host.ended == 1);
    CHECK(store.all.at("n2").lease.serial == first.serial + 1);
    CHECK(store.all.at("n2").lease.incarnation == first.incarnation);

    SECTION("without contact the deadline stands") {
        const auto deadline = host.holder.deadline().get();
        store.away = true;
        CHECK_THROWS_AS(host.holder.renew(), Error);
        CHECK(host.holder.deadline().get() == deadline);
        store.away = false;
        CHECK(host.holder.renew());
        CHECK(host.ended == 1);
    }
    SECTION("so it does when an answer got lost, and the next try finds its own write") {
        const auto deadline = host.holder.deadline().get();
        store.lost = true;
        CHECK_THROWS_AS(host.holder.renew(), Error);
        CHECK(host.holder.deadline().get() == deadline);
        CHECK(host.holder.renew());
        CHECK(host.ended == 1);
        CHECK(store.all.at("n2").lease.serial == first.serial + 3);
    }
    SECTION("a process that was killed and comes back goes on") {
        const auto deadline = host.holder.deadline().get();
        Host again(store, in.path / "lease.deadline");
        CHECK(again.holder.deadline().get() == deadline);
        CHECK(again.holder.renew());
        CHECK(again.ended == 0);
        CHECK(again.holder.deadline().incarnation() == first.incarnation);
    }
}

TEST_CASE("a claim is read when a renewal fails, and stays until the machine was given up",
          "[lease]") {
    const Directory in;
    MemoryLeases store;
    Host host(store, in.path / "lease.deadline");
    CHECK(host.holder.renew());
    store.change("n2", [](LeaseRecord& lease) { lease.claims = {kClaim}; });
    const auto deadline = host.holder.deadline().get();
    CHECK_FALSE(host.holder.renew());
    CHECK(host.holder.deadline().get() == deadline);
    CHECK(host.holder.renew());
    CHECK(host.asked.size() == 1);
    CHECK(store.all.at("n2").lease.claims.size() == 1);
    host.given_up = true;
    CHECK(host.holder.renew());
    CHECK(store.all.at("n2").lease.claims.empty());
    CHECK(host.ended == 1); // at the begin
}

TEST_CASE("who finds its lease revoked ends everything before it begins anew", "[lease]") {
    const Directory in;
    const auto file = in.path / "lease.deadline";
    MemoryLeases store;
    Host host(store, file);
    CHECK(host.holder.renew());
    const auto incarnation = host.holder.deadline().incarnation();
    const auto guard = Deadline::open(file);
    const auto serial = store.all.at("n2").lease.serial;
    store.change("n2", [](LeaseRecord& lease) {
        lease.revoked = true;
        lease.claims = {kClaim};
    });
    CHECK_FALSE(host.holder.renew());
    SECTION("something does not end: no lease, and no time for anybody") {
        host.stuck = true;
        CHECK_THROWS_AS(host.holder.renew(), Error);
        CHECK(store.all.at("n2").lease.revoked);
        CHECK(guard->past());
        CHECK_THROWS_AS(host.holder.renew(), Error);
        CHECK(store.all.at("n2").lease.incarnation == incarnation);
        host.stuck = false;
    }
    CHECK(host.holder.renew());
    CHECK(host.ended == 2);
    CHECK(guard->past());
    const auto now = store.all.at("n2").lease;
    CHECK_FALSE(now.revoked);
    CHECK(now.incarnation != incarnation);
    CHECK(now.incarnation == host.holder.deadline().incarnation());
    CHECK(now.serial > serial);
    CHECK(now.claims.empty());
    CHECK_FALSE(host.holder.deadline().past());
}

TEST_CASE("a host whose lease was forgotten begins anew", "[lease]") {
    const Directory in;
    MemoryLeases store;
    Host host(store, in.path / "lease.deadline");
    CHECK(host.holder.renew());
    store.all.clear();
    CHECK_FALSE(host.holder.renew());
    CHECK(host.holder.renew());
    CHECK(host.ended == 2);
}

TEST_CASE("another's lease is judged by one's own clock", "[lease]") {
    const auto begin = Sight::Clock::now();
    const auto at = [&](int s) { return begin + seconds(s); };
    const auto judge = [&](const Sight& sight, int s, bool down = false) {
        return sight.judge("alice.infra.www", kHolder.generation, down, seconds(10), at(s));
    };
    Sight sight;
    sight.saw(lease_of("aa", 17), at(0));
    SECTION("it is renewed") {
        CHECK_FALSE(judge(sight, 0).still);
        sight.saw(lease_of("aa", 18), at(29));
        CHECK_FALSE(judge(sight, 58).still);
    }
    SECTION("its serial stands still, whoever else writes to it") {
        LeaseRecord claimed = lease_of("aa", 17);
        claimed.claims = {kClaim};
        sight.saw(claimed, at(20));
        CHECK_FALSE(judge(sight, 30).still);
        CHECK(judge(sight, 31).still);
        CHECK(judge(sight, 31).claimed);
    }
    SECTION("nomad holds its host down") {
        CHECK(judge(sight, 0, true).still);
    }
    SECTION("revoked: L and W must pass since that was seen") {
        LeaseRecord revoked = lease_of("aa", 17);
        revoked.revoked = true;
        sight.saw(revoked, at(40));
        CHECK(judge(sight, 80).revoked);
        CHECK_FALSE(judge(sight, 80).waited);
        sight.saw(revoked, at(81));
        CHECK(judge(sight, 81).waited);
    }
    SECTION("another incarnation was never revoked, and one that is at first sight waits too") {
        LeaseRecord revoked = lease_of("bb", 18);
        revoked.revoked = true;
        sight.saw(revoked, at(40));
        CHECK_FALSE(judge(sight, 50).waited);
        sight.saw(lease_of("cc", 19), at(100));
        CHECK_FALSE(judge(sight, 100).revoked);
        Sight fresh;
        fresh.saw(revoked, at(0));
        CHECK_FALSE(judge(fresh, 40).waited);
        CHECK(judge(fresh, 41).waited);
    }
    SECTION("somebody asked for another generation") {
        LeaseRecord claimed = lease_of("aa", 17);
        claimed.claims = {{"alice.infra.www", 2, "n3"}, {"alice.infra.db", 3, "n3"}};
        sight.saw(claimed, at(1));
        CHECK_FALSE(judge(sight, 1).claimed);
    }
}

TEST_CASE("a supervisor claims and revokes what it saw, or nothing", "[lease]") {
    const Directory in;
    const auto file = in.path / "lease.deadline";
    MemoryLeases store;
    Leases leases(store, "n1", "alice.infra.www", seconds(10));
    CHECK_FALSE(held_lease(file));
    Deadline::make(file, new_incarnation()).set(boot_clock() + seconds(100));
    CHECK(held_lease(file));
    CHECK_FALSE(leases.of(kHolder));
    store.all["n2"] = {lease_of("aa", 17), 5};
    CHECK_FALSE(leases.of(kHolder)->claimed);
    SECTION("a claim is written once") {
        leases.claim(kHolder);
        CHECK(store.all.at("n2").lease.claims == std::vector<LeaseClaim>{kClaim});
        CHECK(store.all.at("n2").lease.serial == 17);
        CHECK(leases.of(kHolder)->claimed);
    }
    SECTION("nomad holds the host down: it is revoked") {
        store.is_down = "n2";
        CHECK(leases.of(kHolder)->still);
        leases.revoke(kHolder);
        CHECK(store.all.at("n2").lease.revoked);
        CHECK(leases.of(kHolder)->revoked);
    }
    SECTION("not if it was renewed in the same moment") {
        store.change("n2", [](LeaseRecord& lease) { ++lease.serial; });
        leases.revoke(kHolder);
        CHECK_FALSE(store.all.at("n2").lease.revoked);
    }
    SECTION("nor one that is another's") {
        store.all["n2"] = {lease_of("bb", 18), 50};
        static_cast<void>(leases.of(kHolder));
        leases.claim(kHolder);
        leases.revoke(kHolder);
        CHECK_FALSE(store.all.at("n2").lease.revoked);
        CHECK(store.all.at("n2").lease.claims.empty());
    }
}
