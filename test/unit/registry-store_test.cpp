// SPDX-License-Identifier: MIT
#include "catch.hpp"
#include "unit/submit.hpp"

#include <sky/config.hpp>
#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/lock.hpp>
#include <sky/registry-store.hpp>

#include <filesystem>
#include <unistd.h>

using namespace sky;
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
