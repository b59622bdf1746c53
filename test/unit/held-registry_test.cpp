// SPDX-License-Identifier: MIT
#include "catch.hpp"
#include "unit/submit.hpp"

#include <sky-vm-run/held-registry.hpp>
#include <sky/config.hpp>
#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/lock.hpp>

#include <filesystem>
#include <map>
#include <memory>
#include <unistd.h>

using namespace sky;
using namespace sky::vm;
namespace fs = std::filesystem;

namespace {

struct Store {
    submit::test::Scratch scratch;
    Config config;
    MachinePath www = MachinePath::parse_joined("alice.infra.www");
    MachinePath db = MachinePath::parse_joined("alice.infra.db");

    Store() {
        config.shared = scratch.path;
        config.accounts.deploy = "root";
        config.machine_uid_first = 2000000;
        config.machine_uid_count = 40000;
    }
    [[nodiscard]] fs::path file() const { return scratch.path / "registry.json"; }
    void give(Registry& registry, const MachinePath& path) const {
        static_cast<void>(register_machine(registry, registry_limits(config), path));
    }
};

} // namespace

TEST_CASE("a change of the registry is written, of what others wrote before") {
    if (::geteuid() != 0) {
        return; // its group is another's
    }
    const Store store;
    CHECK(load_registry(store.config) == Registry{});
    change_registry(store.config, "one", [&](Registry& r) { store.give(r, store.www); });
    change_registry(store.config, "two", [&](Registry& r) {
        CHECK(r.find(store.www) != nullptr);
        store.give(r, store.db);
    });
    const Registry after = load_registry(store.config);
    CHECK(after.find(store.www)->index == 1);
    CHECK(after.find(store.db)->index == 2);
    CHECK((fs::status(store.file()).permissions() & fs::perms::mask) ==
          static_cast<fs::perms>(0640));
}

TEST_CASE("a change of the registry that fails, or changes nothing, writes nothing") {
    const Store store;
    CHECK_THROWS_AS(change_registry(store.config, "one",
                                    [&](Registry& r) {
                                        store.give(r, store.www);
                                        fail(ExitCode::kRefused, "no");
                                    }),
                    Error);
    change_registry(store.config, "two", [](Registry&) {});
    CHECK(!fs::exists(store.file()));
}

TEST_CASE("nobody else changes the registry meanwhile") {
    const Store store;
    change_registry(store.config, "the one who changes it", [&](Registry&) {
        CHECK(!Lock::try_take(store.scratch.path / "registry.lock", "another"));
        CHECK(Lock::holder(store.scratch.path / "registry.lock") == "the one who changes it");
    });
    CHECK(Lock::try_take(store.scratch.path / "registry.lock", "another"));
}

namespace {

/// What Nomad keeps. Ends who writes at its `dies`th call, before or after that was done.
struct Kept {
    struct Value {
        std::string text;
        std::uint64_t index;
    };
    std::map<std::string, Value> values;
    std::uint64_t index = 0;
    int calls = 0; ///< that change something
    int dies = -1;
    bool after = false;
    bool away = false;
};

struct Death {};

class InMemory final : public Variables {
  public:
    explicit InMemory(Kept& kept) : kept_(kept) {}

    std::optional<Read> read(const std::string& path) override {
        reach();
        const auto at = kept_.values.find(path);
        return at == kept_.values.end() ? std::nullopt
                                        : std::optional(Read{at->second.text, at->second.index});
    }
    bool write(const std::string& path, const std::string& text, std::uint64_t index) override {
        return step([&] {
            const auto at = kept_.values.find(path);
            if ((at == kept_.values.end() ? 0 : at->second.index) != index) {
                return false;
            }
            kept_.values[path] = {text, ++kept_.index};
            return true;
        });
    }
    void remove(const std::string& path) override {
        static_cast<void>(step([&] { return kept_.values.erase(path) != 0; }));
    }
    std::vector<std::string> list(const std::string& prefix) override {
        reach();
        std::vector<std::string> out;
        for (const auto& [path, value] : kept_.values) {
            if (path.compare(0, prefix.size(), prefix) == 0) {
                out.push_back(path);
            }
        }
        return out;
    }

  private:
    void reach() const {
        if (kept_.away) {
            fail(ExitCode::kUnavailable, "Nomad is away");
        }
    }
    bool step(const std::function<bool()>& f) {
        reach();
        const bool now = kept_.calls++ == kept_.dies;
        if (now && !kept_.after) {
            throw Death();
        }
        const bool out = f();
        if (now) {
            throw Death();
        }
        return out;
    }

    Kept& kept_;
};

struct Cluster : Store {
    Kept kept;

    [[nodiscard]] HeldRegistry hold() {
        return HeldRegistry(config, "a test", std::make_unique<InMemory>(kept));
    }
    void add(const std::string& machine) {
        HeldRegistry held = hold();
        Registry next = held.now();
        give(next, MachinePath::parse_joined(machine));
        held.save(std::move(next));
    }
    /// So many machines of a third tenant that the whole does not fit into the head.
    void fill() {
        HeldRegistry held = hold();
        Registry next = held.now();
        for (int i = 0; i < 1000; ++i) {
            give(next, MachinePath::parse_joined("carol.infra.m" + std::to_string(i)));
        }
        held.save(std::move(next));
    }
    void sweep() { hold().sweep(); }
    [[nodiscard]] Registry now() {
        InMemory variables(kept);
        return current_registry(config, &variables);
    }
    /// What Nomad has, whatever the copy says.
    [[nodiscard]] Registry nomads() {
        InMemory variables(kept);
        RegistryVariables registry(variables);
        return registry.registry(*registry.head());
    }
    void lose_copy() const { fs::remove(file()); }
};

} // namespace

TEST_CASE("a cluster's registry stands in Nomad's variables, and a copy beside") {
    Cluster cluster;
    cluster.add("alice.infra.www");
    cluster.add("bob.infra.www");
    cluster.add("alice.infra.db");
    const Registry after = cluster.nomads();
    CHECK(after.machines.size() == 3);
    CHECK(after.commit.serial == 3);
    CHECK(after.next_index == 4);
    CHECK(after == load_registry(cluster.config));
    CHECK(cluster.kept.values.size() == 1); // the head: it fits
    cluster.lose_copy();
    CHECK(cluster.now() == after);
    CHECK(!fs::exists(cluster.file())); // who only looks writes nothing
    {
        HeldRegistry held = cluster.hold();
        held.save(held.now());
    }
    CHECK(load_registry(cluster.config) == after);
    CHECK(cluster.kept.values.at("sky/registry/head").index == cluster.kept.index);
}

TEST_CASE("a registry that does not fit into a variable is several") {
    Cluster cluster;
    cluster.add("alice.infra.www");
    cluster.fill();
    cluster.add("alice.infra.db");
    cluster.sweep();
    CHECK(cluster.kept.values.size() > 4); // the head, one of alice's, several of carol's
    for (const auto& [path, value] : cluster.kept.values) {
        CHECK(value.text.size() <= kRegistryPieceBytes);
    }
    CHECK(cluster.nomads() == load_registry(cluster.config));
    HeldRegistry held = cluster.hold();
    Registry few = held.now();
    for (int i = 1; i < 1000; ++i) {
        few.machines.erase("carol.infra.m" + std::to_string(i));
    }
    held.save(few);
    CHECK(cluster.nomads().machines == few.machines);
}

TEST_CASE("sweeping the registry takes what no head names, and nothing of who still writes") {
    Cluster cluster;
    cluster.fill();
    cluster.add("alice.infra.www");
    InMemory variables(cluster.kept);
    RegistryVariables registry(variables);
    const auto head = registry.head();
    const std::string at = "sky/registry/part/alice/";
    const std::string by = "-0123456789abcdef-0";
    REQUIRE(variables.write(at + std::to_string(head->head.commit.serial) + by, "dead", 0));
    REQUIRE(variables.write(at + std::to_string(head->head.commit.serial + 1) + by, "writes", 0));
    REQUIRE(variables.write("sky/registry/part/bob/1" + by, "old", 0));
    REQUIRE(variables.write("sky/registry/part/x", "none of ours", 0));
    const auto before = cluster.kept.values.size();
    cluster.sweep();
    CHECK(cluster.kept.values.size() == before - 2);
    CHECK(variables.read(at + std::to_string(head->head.commit.serial + 1) + by));
    CHECK(cluster.nomads() == load_registry(cluster.config));
}

TEST_CASE("a registry that stood in a file goes to Nomad with its next change") {
    Cluster cluster;
    change_registry(cluster.config, "alone", [&](Registry& r) { cluster.give(r, cluster.www); });
    CHECK(cluster.now().find(cluster.www)->index == 1);
    CHECK(cluster.kept.values.empty());
    cluster.add("alice.infra.db");
    CHECK(cluster.nomads().find(cluster.www)->index == 1);
    CHECK(cluster.nomads().find(cluster.db)->index == 2);
}

TEST_CASE("a change of a cluster's registry is done or not, wherever its writer dies") {
    const bool large = GENERATE(false, true);
    for (const bool after : {false, true}) {
        bool died = true;
        for (int at = 0; died; ++at) {
            Cluster cluster;
            if (large) {
                cluster.fill();
            }
            cluster.add("alice.infra.www");
            cluster.add("bob.infra.www");
            const Registry before = cluster.nomads();
            cluster.kept.calls = 0;
            cluster.kept.dies = at;
            cluster.kept.after = after;
            try {
                HeldRegistry held = cluster.hold();
                Registry next = held.now();
                cluster.give(next, cluster.db);
                cluster.give(next, MachinePath::parse_joined("bob.infra.db"));
                held.save(std::move(next));
                died = false;
            } catch (const Death&) {
            }
            cluster.kept.dies = -1;
            CAPTURE(after, at);
            const Registry now = cluster.now();
            CHECK((now == before || (now.machines.size() == before.machines.size() + 2 &&
                                     now.next_index == before.next_index + 2)));
            CHECK((died || now != before));
            // The next ones find their way, and sweep what was left.
            cluster.add("alice.infra.db");
            cluster.add("bob.infra.db");
            cluster.add("alice.infra.third");
            cluster.add("bob.infra.third");
            CHECK(cluster.nomads().machines.size() == before.machines.size() + 4);
            CHECK(load_registry(cluster.config) == cluster.nomads());
            cluster.sweep();
            const auto parts = cluster.kept.values.size();
            CHECK((large ? parts > 4 && parts < 12 : parts == 1));
        }
    }
}

TEST_CASE("two writers at once, whatever became of the lock: one of them is told") {
    Cluster cluster;
    if (GENERATE(false, true)) {
        cluster.fill();
    }
    cluster.add("alice.infra.www");
    InMemory variables(cluster.kept);
    RegistryVariables registry(variables);
    const auto seen = registry.head();
    const Registry was = registry.registry(*seen);
    cluster.add("alice.infra.db");
    const auto there = cluster.kept.values.size();
    Registry next = was;
    cluster.give(next, MachinePath::parse_joined("alice.infra.other"));
    CHECK_THROWS_AS(registry.commit(seen, was, next), Error);
    CHECK(cluster.nomads() == load_registry(cluster.config));
    CHECK(cluster.nomads().find(MachinePath::parse_joined("alice.infra.other")) == nullptr);
    cluster.sweep();
    CHECK(cluster.kept.values.size() <= there); // what it had written is gone
}

TEST_CASE("of Nomad's registry and the copy the later one counts") {
    Cluster cluster;
    cluster.add("alice.infra.www");
    const Kept backup = cluster.kept;
    const auto old = read_file(cluster.file(), 1U << 20U);
    cluster.add("alice.infra.db");
    SECTION("Nomad was brought back from a backup") {
        cluster.kept.values = backup.values;
    }
    SECTION("the shared directory was") {
        atomic_write(cluster.file(), old);
    }
    CHECK(cluster.now().machines.size() == 2);
    cluster.add("alice.infra.third");
    CHECK(cluster.nomads().find(MachinePath::parse_joined("alice.infra.third"))->index == 3);
    CHECK(cluster.nomads() == load_registry(cluster.config));
}

TEST_CASE("without contact to Nomad the registry can be looked at, and not changed") {
    Cluster cluster;
    cluster.add("alice.infra.www");
    const Registry before = cluster.now();
    cluster.kept.away = true;
    CHECK(cluster.now() == before);
    HeldRegistry held = cluster.hold();
    CHECK_THROWS_AS(held.now(), Error);
    CHECK(held.last_known() == before);
    held.save(before); // no change
    Registry next = before;
    cluster.give(next, cluster.db);
    CHECK_THROWS_AS(held.save(std::move(next)), Error);
    CHECK(load_registry(cluster.config) == before);
}

TEST_CASE("a part that is missing, or another tenant's, is told") {
    Cluster cluster;
    cluster.fill();
    cluster.add("alice.infra.www");
    cluster.add("bob.infra.www");
    cluster.sweep();
    cluster.lose_copy();
    auto& values = cluster.kept.values;
    const auto first = std::next(values.begin()); // after the head
    REQUIRE(first->first.rfind("sky/registry/part/alice/", 0) == 0);
    SECTION("missing") {
        values.erase(first);
    }
    SECTION("another's") {
        first->second.text = std::next(first)->second.text;
    }
    CHECK_THROWS_WITH(cluster.nomads(), ContainsSubstring("part/alice/"));
}
