// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <sky-vm-run/owner.hpp>
#include <sky-vm-run/ownership.hpp>
#include <sky/error.hpp>

#include <filesystem>
#include <fmt/format.h>
#include <functional>
#include <unistd.h>

using namespace sky::vm;
using sky::Error;
using sky::Lease;

namespace {

const Claimant kMe{.host = "n1", .incarnation = "aa", .alloc = "alloc-1"};

Owner had_by(const std::string& host, const std::string& alloc, std::uint64_t create_index,
             std::uint64_t generation = 3) {
    return {.generation = generation,
            .host = host,
            .incarnation = "aa",
            .alloc = alloc,
            .create_index = create_index,
            .storage = {},
            .released = false,
            .at = "2026-11-22T10:00:00Z"};
}

Allocation runs(const std::string& id, std::uint64_t create_index) {
    return {.id = id, .create_index = create_index, .shall_run = true, .ended = false};
}
/// Ended as Nomad sees it: complete, failed, or lost with its host.
Allocation ended(const std::string& id, std::uint64_t create_index) {
    return {.id = id, .create_index = create_index, .shall_run = false, .ended = true};
}

Question asks(std::optional<Owner> record, std::vector<Allocation> others = {}) {
    others.push_back(runs("alloc-1", 20));
    return {.me = kMe, .record = std::move(record), .allocations = std::move(others)};
}

Verdict verdict(const Question& q) {
    return decide(q).verdict;
}

/// The record in memory, with what somebody else does between a read and a write.
class MemoryStore final : public OwnerStore {
  public:
    std::optional<Read> read() override {
        if (away) {
            sky::fail(sky::ExitCode::kUnavailable, "no contact");
        }
        return record;
    }
    bool write(const Owner& owner, std::uint64_t index) override {
        if (between) {
            std::exchange(between, {})();
        }
        if ((record ? record->index : 0) != index) {
            return false;
        }
        record = Read{owner, index + 10};
        return true;
    }
    std::vector<Allocation> allocations() override { return known; }

    std::optional<Read> record;
    std::vector<Allocation> known;
    std::function<void()> between;
    bool away = false;
};

} // namespace

TEST_CASE("an owner record is what was written", "[owner]") {
    Owner owner = had_by("n1", "alloc-1", 20);
    owner.storage = {"10.0.0.1:0/7"};
    owner.leased = true;
    owner.opened = true;
    owner.released = true;
    CHECK(Owner::parse(owner.dump()) == owner);
    owner.alloc.clear();
    CHECK(Owner::parse(owner.dump()) == owner);
    CHECK_THROWS_AS(Owner::parse("{}"), Error);
    for (const char* no : {"", "10.0.0.1", "10.0.0.1:0", "--expire", "10.0.0.0:0/7 10.0.0.2:0/8"}) {
        owner.storage = {"10.0.0.1:0/7", no}; // what ceph would cut off
        CHECK_THROWS_AS(Owner::parse(owner.dump()), Error);
    }
    owner.storage.clear();
    CHECK_THROWS_AS(Owner::parse(owner.dump().insert(1, "\"more\":1,")), Error);
}

TEST_CASE("a machine that nobody had is taken", "[owner]") {
    CHECK(verdict(asks(std::nullopt)) == Verdict::kTake);
    CHECK(successor(std::nullopt, kMe, 20, false).generation == 1);
}

TEST_CASE("a released machine is taken, wherever it was", "[owner]") {
    Owner record = had_by("n2", "alloc-0", 10);
    record.released = true;
    for (const bool leased : {false, true}) {
        record.leased = leased;
        const Question q = asks(record, {ended("alloc-0", 10)});
        CHECK(verdict(q) == Verdict::kTake);
    }
    const Owner next = successor(record, kMe, 20, true);
    CHECK(next.generation == 4);
    CHECK(next.host == "n1");
    CHECK(next.create_index == 20);
    CHECK_FALSE(next.released);
    CHECK(next.leased);
    CHECK_FALSE(successor(next, kMe, 20, false).leased);
}

TEST_CASE("restarted locally: what lives is kept, what died takes a new generation", "[owner]") {
    Question q = asks(had_by("n1", "alloc-1", 20));
    CHECK(verdict(q) == Verdict::kTake);
    q.living = 3;
    CHECK(verdict(q) == Verdict::kKeep);
    q.held = 3;
    CHECK(verdict(q) == Verdict::kKeep);
}

TEST_CASE("the next allocation on the same host takes what lives into its own generation",
          "[owner]") {
    Question q = asks(had_by("n1", "alloc-0", 10), {ended("alloc-0", 10)});
    q.living = 3;
    CHECK(verdict(q) == Verdict::kTake);
}

TEST_CASE("a task that was restarted while its host was lost asks, and is refused", "[owner]") {
    SECTION("its allocation shall not run any more") {
        Question q = asks(had_by("n1", "alloc-1", 20));
        q.allocations = {{.id = "alloc-1", .create_index = 20, .shall_run = false, .ended = true},
                         runs("alloc-2", 30)};
        CHECK(verdict(q) == Verdict::kNever);
    }
    SECTION("a newer one shall, though nobody stopped this one yet") {
        CHECK(verdict(asks(had_by("n1", "alloc-1", 20), {runs("alloc-2", 30)})) == Verdict::kNever);
    }
    SECTION("a newer one had it, and was forgotten since") {
        CHECK(verdict(asks(had_by("n2", "alloc-2", 30))) == Verdict::kNever);
        Owner record = had_by("n2", "alloc-2", 30);
        record.released = true;
        CHECK(verdict(asks(record)) == Verdict::kNever);
    }
    SECTION("somebody took a higher generation than this supervisor") {
        Question q = asks(had_by("n2", "alloc-0", 10, 4), {ended("alloc-0", 10)});
        q.held = 3;
        CHECK(verdict(q) == Verdict::kNever);
        q.record->released = true;
        CHECK(verdict(q) == Verdict::kNever);
    }
    SECTION("its own write whose answer got lost is no stranger's") {
        Question q = asks(had_by("n1", "alloc-1", 20, 4));
        q.held = 3;
        CHECK(verdict(q) == Verdict::kTake);
    }
}

TEST_CASE("an allocation that nomad does not show is waited for", "[owner]") {
    Question q = asks(std::nullopt);
    q.allocations.clear();
    CHECK(verdict(q) == Verdict::kWait);
}

TEST_CASE("an older allocation that should run as well does not keep the newest from it",
          "[owner]") {
    CHECK(verdict(asks(std::nullopt, {runs("alloc-0", 10)})) == Verdict::kTake);
}

TEST_CASE("what only one host can open moves when nomad says that it ended", "[owner]") {
    const Owner record = had_by("n2", "alloc-0", 10);
    CHECK(verdict(asks(record, {runs("alloc-0", 10)})) == Verdict::kWait);
    CHECK(verdict(asks(record, {{"alloc-0", 10, false, false}})) == Verdict::kWait); // stopping
    CHECK(verdict(asks(record, {ended("alloc-0", 10)})) == Verdict::kTake);
    CHECK(verdict(asks(record)) == Verdict::kTake); // collected long ago
}

TEST_CASE("lost has not ended: what other hosts can open waits for the lease", "[owner]") {
    Question q = asks(had_by("n2", "alloc-0", 10), {ended("alloc-0", 10)});
    q.record->leased = true;
    SECTION("its host holds its lease: it is asked, and given time") {
        q.lease = Lease{.incarnation = "aa"};
        CHECK(verdict(q) == Verdict::kClaim);
        q.lease->claimed = true;
        CHECK(verdict(q) == Verdict::kWait);
    }
    SECTION("its host renews no more: it loses its lease, asked or not") {
        q.lease = Lease{.incarnation = "aa", .still = true};
        CHECK(verdict(q) == Verdict::kRevoke);
        q.lease->claimed = true;
        CHECK(verdict(q) == Verdict::kRevoke);
    }
    SECTION("its host never had one") {
        CHECK(verdict(q) == Verdict::kWait);
    }
    SECTION("its host was revoked a moment ago") {
        q.lease = Lease{.incarnation = "aa", .revoked = true, .still = true};
        CHECK(verdict(q) == Verdict::kWait);
    }
    SECTION("its host was revoked, and the time is over") {
        q.lease = Lease{.incarnation = "aa", .revoked = true, .waited = true};
        CHECK(verdict(q) == Verdict::kTake);
    }
    SECTION("its host came back as another incarnation") {
        q.lease = Lease{.incarnation = "bb"};
        CHECK(verdict(q) == Verdict::kTake);
    }
    SECTION("and no lease helps whom nomad replaced") {
        q.allocations.push_back(runs("alloc-2", 30));
        q.lease = Lease{.incarnation = "bb"};
        CHECK(verdict(q) == Verdict::kNever);
    }
}

TEST_CASE("what lives is rightful while the record means it", "[owner]") {
    const Owner record = had_by("n1", "alloc-0", 10);
    CHECK(rightful(record, kMe, 3));
    CHECK_FALSE(rightful(record, kMe, 2)); // a lower generation
    CHECK_FALSE(rightful(record, kMe, 4)); // the record was put back from a backup
    CHECK_FALSE(rightful(had_by("n2", "alloc-0", 10), kMe, 3));
    Owner other = record;
    other.incarnation = "bb"; // taken before this host lost its lease
    CHECK_FALSE(rightful(other, kMe, 3));
    other = record;
    other.released = true;
    CHECK_FALSE(rightful(other, kMe, 3));
    CHECK(rightful(std::nullopt, kMe, 0));
    CHECK_FALSE(rightful(std::nullopt, kMe, 3));
}

TEST_CASE("on a single host there are no allocations to ask for", "[owner]") {
    Claimant alone = kMe;
    alone.alloc.clear();
    Question q{.me = alone, .record = had_by("n1", "", 0)};
    CHECK(verdict(q) == Verdict::kTake);
    q.living = 3;
    CHECK(verdict(q) == Verdict::kKeep);
}

TEST_CASE("who works on volumes holds the machine as if it ran, with the lease, until the end",
          "[owner]") {
    const auto file =
        std::filesystem::temp_directory_path() / fmt::format("sky-hold.{}", ::getpid());
    auto deadline = Deadline::make(file, new_incarnation());
    deadline.set(boot_clock() + std::chrono::hours(1));
    MemoryStore store;
    Ownership work(store, {.host = "n1", .incarnation = "", .alloc = ""}, {.own = file});
    SECTION("released: held, so that another host has to ask, and let go") {
        store.record = OwnerStore::Read{had_by("n2", "alloc-0", 10), 5};
        store.record->owner.released = true;
        CHECK(work.hold());
        const Owner now = store.record->owner;
        CHECK((now.generation == 4 && now.host == "n1" && now.leased && !now.released));
        CHECK(now.incarnation == deadline.incarnation());
        CHECK(now.create_index == 10); // no older allocation comes in by it
        Question q{.me = {.host = "n2", .incarnation = "cc", .alloc = "alloc-1"},
                   .record = now,
                   .allocations = {runs("alloc-1", 20)},
                   .lease = Lease{.incarnation = deadline.incarnation()}};
        CHECK(verdict(q) == Verdict::kClaim);
        CHECK(work.release());
        q.record = store.record->owner;
        CHECK(verdict(q) == Verdict::kTake);
    }
    SECTION("another host has it, or takes it between the look and the write") {
        store.record = OwnerStore::Read{had_by("n2", "alloc-0", 10), 5};
        CHECK_FALSE(work.hold());
        store.record->owner.released = true;
        store.between = [&] { store.record = OwnerStore::Read{had_by("n2", "alloc-2", 30, 4), 9}; };
        CHECK_FALSE(work.hold());
        CHECK(store.record->owner.host == "n2");
    }
    SECTION("a host without its lease holds nothing") {
        deadline.set(std::chrono::nanoseconds::zero());
        CHECK_THROWS_AS(work.hold(), Error);
        CHECK_FALSE(store.record);
    }
    std::filesystem::remove(file);
}

TEST_CASE("ownership is taken by compare-and-set", "[owner]") {
    MemoryStore store;
    store.known = {runs("alloc-1", 20)};
    Ownership mine(store, kMe, {});
    SECTION("a first start, a death, a local restart") {
        CHECK(mine.ask(std::nullopt).verdict == Verdict::kTake);
        CHECK(mine.generation() == 1);
        CHECK(store.record->owner.create_index == 20);
        CHECK(mine.ask(1).verdict == Verdict::kKeep);
        CHECK(mine.ask(std::nullopt).verdict == Verdict::kTake);
        CHECK(mine.generation() == 2);
        Ownership again(store, kMe, {});
        CHECK(again.ask(2).verdict == Verdict::kKeep);
        CHECK(again.generation() == 2);
    }
    SECTION("two at once: one of them waits, and what it waits for is seen the next time") {
        store.between = [&] { store.record = OwnerStore::Read{had_by("n2", "alloc-2", 30, 1), 5}; };
        CHECK(mine.ask(std::nullopt).verdict == Verdict::kWait);
        CHECK(mine.generation() == 0);
        CHECK(mine.ask(std::nullopt).verdict == Verdict::kNever);
        CHECK(store.record->owner.host == "n2");
    }
    SECTION("a machine of another generation is to be ended before anything is taken") {
        store.record = OwnerStore::Read{had_by("n1", "alloc-1", 20, 3), 5};
        CHECK(mine.ask(2).stranger);
        CHECK(store.record->owner.generation == 3);
        CHECK(mine.ask(std::nullopt).verdict == Verdict::kTake);
        CHECK(mine.generation() == 4);
    }
    SECTION("what lives goes over to the next allocation") {
        store.record = OwnerStore::Read{had_by("n1", "alloc-0", 10, 3), 5};
        store.known.push_back(ended("alloc-0", 10));
        CHECK(mine.ask(3).verdict == Verdict::kTake);
        CHECK(store.record->owner.alloc == "alloc-1");
        CHECK(store.record->owner.generation == 4);
    }
    SECTION("without contact nothing is known") {
        store.away = true;
        CHECK_THROWS_AS(mine.ask(std::nullopt), Error);
        CHECK(mine.generation() == 0);
    }
}

TEST_CASE("a record is released by the host that it names", "[owner]") {
    MemoryStore store;
    Ownership mine(store, kMe, {});
    CHECK_FALSE(mine.release()); // nobody ever had it
    store.record = OwnerStore::Read{had_by("n2", "alloc-2", 30), 5};
    CHECK_FALSE(mine.release());
    CHECK_FALSE(store.record->owner.released);
    store.record = OwnerStore::Read{had_by("n1", "alloc-1", 20), 5};
    CHECK(mine.release());
    CHECK(store.record->owner.released);
    CHECK(store.record->owner.generation == 3);
    CHECK(mine.release());

    SECTION("not when another host was faster") {
        store.record = OwnerStore::Read{had_by("n1", "alloc-1", 20), 5};
        store.between = [&] { store.record = OwnerStore::Read{had_by("n2", "alloc-2", 30), 15}; };
        CHECK_FALSE(mine.release());
        CHECK_FALSE(store.record->owner.released);
    }
}
