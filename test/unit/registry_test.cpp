// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <sky/config.hpp>
#include <sky/error.hpp>
#include <sky/registry.hpp>

#include <functional>
#include <random>
#include <set>

using namespace sky;

namespace {

MachinePath path(const std::string& tenant, const std::string& repo, const std::string& machine) {
    return {Tenant::parse(tenant), Repo::parse(repo), Machine::parse(machine)};
}

RegistryLimits limits() {
    RegistryLimits out;
    out.uid_first = 2000000;
    out.uid_count = 40000;
    out.networks["default"] = {.first = 0x0a580000, .prefix = 16, .tenant_prefix = 24};
    return out;
}

std::string refusal(Registry& registry, const RegistryLimits& some, const MachinePath& who,
                    std::optional<std::uint32_t> max = std::nullopt) {
    const Registry before = registry;
    try {
        static_cast<void>(register_machine(registry, some, who, max));
    } catch (const Error& e) {
        CHECK(e.code() == ExitCode::kRefused);
        CHECK(registry == before); // all or nothing
        return e.what();
    }
    return "accepted";
}

/// Everything bounded that two machines must not share.
void check_disjoint(const Registry& registry) {
    std::set<std::uint32_t> indices;
    std::set<uid_t> uids;
    std::set<std::string> macs;
    std::set<std::string> ids;
    std::set<std::string> addresses;
    std::size_t address_count = 0;
    for (const auto& [name, machine] : registry.machines) {
        indices.insert(machine.index);
        ids.insert(machine.machine_id);
        for (std::uint32_t k = 0; k < 4; ++k) {
            uids.insert(machine.uid + k);
            macs.insert(machine_mac(machine.index, k));
        }
        for (const auto& [network, address] : machine.addresses) {
            addresses.insert(address);
            ++address_count;
        }
    }
    CHECK(indices.size() == registry.machines.size());
    CHECK(ids.size() == registry.machines.size());
    CHECK(uids.size() == 4 * registry.machines.size());
    CHECK(macs.size() == 4 * registry.machines.size());
    CHECK(addresses.size() == address_count);
    std::set<std::string> subnets;
    for (const auto& [name, tenant] : registry.tenants) {
        subnets.insert(tenant.networks.at("default"));
    }
    CHECK(subnets.size() == registry.tenants.size());
}

} // namespace

TEST_CASE("a machine keeps what it was given") {
    Registry registry;
    const auto www = path("alice", "infra", "www");
    const auto first = register_machine(registry, limits(), www);
    CHECK(first.index == 1);
    CHECK(first.uid == 2000004);
    CHECK(first.addresses.at("default") == "10.88.1.10");
    CHECK(registry.tenants.at("alice").networks.at("default") == "10.88.1.0/24");
    CHECK(gateway_of("10.88.1.0/24") == "10.88.1.1");
    static_cast<void>(register_machine(registry, limits(), path("bob", "infra", "www")));
    CHECK(register_machine(registry, limits(), www) == first);
    CHECK(machine_mac(0x1234, 2) == "02:5f:02:00:12:34");
    CHECK(Registry::parse(registry.dump()) == registry);
}

TEST_CASE("machine paths that look alike share nothing, whatever comes and goes") {
    // Joined without care, several of these are the same text.
    std::vector<MachinePath> paths;
    for (const auto* tenant : {"a", "a-b", "ab"}) {
        for (const auto* repo : {"b-c", "c", "b", "bc"}) {
            for (const auto* machine : {"d", "c-d", "cd", "c"}) {
                paths.push_back(path(tenant, repo, machine));
            }
        }
    }
    RegistryLimits tight = limits();
    tight.uid_count = 4 * (static_cast<std::uint32_t>(paths.size()) + 1);
    std::mt19937 random(7); // a fixed seed: a failure comes again
    Registry registry;
    for (int round = 0; round < 2000; ++round) {
        const auto& one = paths.at(random() % paths.size());
        if (random() % 3 == 0) {
            forget_machine(registry, one, 1);
            REQUIRE(registry.find(one) == nullptr);
        } else {
            static_cast<void>(register_machine(registry, tight, one));
        }
        if (round % 50 == 0) {
            check_disjoint(registry);
            CHECK(Registry::parse(registry.dump()) == registry);
        }
    }
}

TEST_CASE("what runs out is said, and comes back only by forgetting") {
    RegistryLimits tight = limits();
    tight.uid_count = 12; // blocks 0, 1, 2: two machines
    Registry registry;
    const auto a = path("alice", "infra", "a");
    const auto b = path("alice", "infra", "b");
    const auto c = path("alice", "infra", "c");
    const auto given = register_machine(registry, tight, a);
    static_cast<void>(register_machine(registry, tight, b));
    CHECK_THAT(refusal(registry, tight, c), ContainsSubstring("all 2 are taken"));
    forget_machine(registry, a, 1);
    CHECK(register_machine(registry, tight, c).index == given.index);
    CHECK_THAT(refusal(registry, tight, a), ContainsSubstring("no machine uid left"));

    tight = limits();
    tight.networks["default"].tenant_prefix = 30; // gateway and one machine
    Registry small;
    static_cast<void>(register_machine(small, tight, a));
    CHECK_THAT(refusal(small, tight, b), ContainsSubstring("no address left in 10.88.0.4/30"));

    tight.networks["default"] = {.first = 0x0a580000, .prefix = 24, .tenant_prefix = 25};
    Registry few;
    static_cast<void>(register_machine(few, tight, path("alice", "r", "m")));
    static_cast<void>(register_machine(few, tight, path("bob", "r", "m")));
    CHECK_THAT(refusal(few, tight, path("carol", "r", "m")),
               ContainsSubstring("no subnet left in network 'default': all 2"));
    check_disjoint(few);
}

TEST_CASE("a freed index is not given out again while others are left") {
    Registry registry;
    const auto a = path("alice", "infra", "a");
    const auto b = path("alice", "infra", "b");
    const auto first = register_machine(registry, limits(), a).index;
    forget_machine(registry, a, 1);
    CHECK(register_machine(registry, limits(), b).index != first);
}

TEST_CASE("a tenant's machines are counted over all its repositories") {
    Registry registry;
    static_cast<void>(register_machine(registry, limits(), path("alice", "one", "www"), 2));
    static_cast<void>(register_machine(registry, limits(), path("alice-b", "one", "www"), 2));
    static_cast<void>(register_machine(registry, limits(), path("alice", "two", "www"), 2));
    CHECK(refusal(registry, limits(), path("alice", "two", "db"), 2) ==
          "machines: asked 1, used 2, allowed 2");
    CHECK(refusal(registry, limits(), path("alice", "two", "www"), 2) == "accepted");
    CHECK(registry.count(Tenant::parse("alice")) == 2);
}

TEST_CASE("volumes outlive their machine and come back to it alone") {
    Registry registry;
    const auto www = path("alice", "infra", "www");
    static_cast<void>(register_machine(registry, limits(), www));
    register_volume(registry, www, Volume::parse("root"), "local", 2048);
    register_volume(registry, www, Volume::parse("root"), "local", 1024);
    CHECK(registry.find(www)->volumes.at("root").size_mib == 2048);
    CHECK_THROWS_AS(register_volume(registry, www, Volume::parse("root"), "ceph", 2048), Error);
    forget_machine(registry, www, 1700000000);
    CHECK(registry.kept.at("alice.infra.www").at("root").kept_since == 1700000000);
    CHECK(Registry::parse(registry.dump()) == registry);
    CHECK_THROWS_AS(register_volume(registry, www, Volume::parse("root"), "local", 1), Error);
    CHECK(register_machine(registry, limits(), path("alice", "infra", "db")).volumes.empty());
    CHECK(register_machine(registry, limits(), www).volumes.at("root") ==
          Registry::Disk{.storage_class = "local", .size_mib = 2048});
    CHECK(registry.kept.empty());
}

TEST_CASE("a volume is forgotten, a machine's or one that is kept, and nothing beside it") {
    Registry registry;
    const auto www = path("alice", "infra", "www");
    const auto root = Volume::parse("root");
    static_cast<void>(register_machine(registry, limits(), www));
    register_volume(registry, www, root, "local", 1024);
    register_volume(registry, www, Volume::parse("data"), "local", 1024);
    forget_volume(registry, www, root);
    CHECK(registry.find(www)->volumes.size() == 1);
    forget_machine(registry, www, 1700000000);
    forget_volume(registry, www, root); // gone before
    CHECK(registry.kept.at("alice.infra.www").contains("data"));
    forget_volume(registry, www, Volume::parse("data"));
    CHECK(registry.kept.empty());
}

TEST_CASE("a registry that gives something out twice is not read") {
    Registry registry;
    static_cast<void>(register_machine(registry, limits(), path("alice", "infra", "a")));
    static_cast<void>(register_machine(registry, limits(), path("bob", "infra", "b")));
    const auto broken = [&](const std::function<void(Registry&)>& change) {
        Registry copy = registry;
        change(copy);
        CHECK_THROWS_AS(Registry::parse(copy.dump()), Error);
    };
    broken([](Registry& r) { r.machines.at("bob.infra.b").index = 1; });
    broken([](Registry& r) { r.machines.at("bob.infra.b").uid -= 2; });
    broken([](Registry& r) { r.machines.at("bob.infra.b").addresses["default"] = "10.88.1.10"; });
    broken([](Registry& r) { r.tenants.at("bob").networks["back"] = "10.88.1.0/24"; });
    broken([](Registry& r) { r.tenants.erase("bob"); });
    broken([](Registry& r) {
        r.machines.at("bob.infra.b").machine_id = r.machines.at("alice.infra.a").machine_id;
    });
}

TEST_CASE("a new network reaches machines that are registered already") {
    Registry registry;
    const auto www = path("alice", "infra", "www");
    static_cast<void>(register_machine(registry, limits(), www));
    RegistryLimits more = limits();
    more.networks["lab"] = {.first = 0x0a590000, .prefix = 16, .tenant_prefix = 24};
    CHECK(register_machine(registry, more, www).addresses.at("lab") == "10.89.1.10");
    CHECK(registry.find(www)->addresses.at("default") == "10.88.1.10");
}

TEST_CASE(
    "registry: a network is given to those who may use it; a shared one's subnet is all of it") {
    RegistryLimits some = limits();
    some.networks["lab"] = {.first = 0x0a590000, .prefix = 20, .tenant_prefix = 20, .shared = true};
    some.networks["own"] = {.first = 0x0a5a0000,
                            .prefix = 16,
                            .tenant_prefix = 24,
                            .shared = false,
                            .tenants = {{"bob"}}};
    Registry registry;
    const auto alice = register_machine(registry, some, path("alice", "infra", "www"));
    const auto bob = register_machine(registry, some, path("bob", "infra", "www"));
    CHECK(registry.tenants.at("alice").networks.at("lab") == "10.89.0.0/20");
    CHECK(registry.tenants.at("bob").networks.at("lab") == "10.89.0.0/20");
    CHECK(alice.addresses.at("lab") == "10.89.0.10");
    CHECK(bob.addresses.at("lab") == "10.89.0.11");
    CHECK_FALSE(alice.addresses.contains("own"));
    CHECK_FALSE(registry.tenants.at("alice").networks.contains("own"));
    CHECK(bob.addresses.at("own") == "10.90.2.10");
    CHECK(Registry::parse(registry.dump()) == registry);
    registry.tenants.at("alice").networks["own"] = "10.89.0.0/20";
    CHECK_THROWS_AS(Registry::parse(registry.dump()), Error); // of another network
}

TEST_CASE("a volume that lies on one host holds its machine there") {
    Registry registry;
    const RegistryLimits limits{.uid_first = 2000000, .uid_count = 400, .networks = {}};
    const MachinePath path{Tenant::parse("alice"), Repo::parse("infra"), Machine::parse("www")};
    static_cast<void>(register_machine(registry, limits, path));
    const auto root = Volume::parse("root");
    register_volume(registry, path, Volume::parse("data"), "shared", 10);
    CHECK_FALSE(home_of(registry, path));
    register_volume(registry, path, root, "local", 10, "n2");
    CHECK(home_of(registry, path) == "n2");
    CHECK(Registry::parse(registry.dump()) == registry);
    CHECK_THROWS_WITH(register_volume(registry, path, root, "local", 10, "n1"),
                      "volume 'root' lies on n2");
    forget_machine(registry, path, 1);
    static_cast<void>(register_machine(registry, limits, path)); // it comes back to its volumes
    CHECK(home_of(registry, path) == "n2");
}
