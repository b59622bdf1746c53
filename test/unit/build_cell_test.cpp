// SPDX-License-Identifier: MIT
#include <catch.hpp>

#include <sky-build/cell.hpp>

#include <algorithm>

using namespace sky::build;

namespace {

CellPlan plan() {
    CellPlan plan;
    plan.bwrap = "/usr/bin/bwrap";
    plan.pasta = "/usr/bin/pasta";
    plan.root = "/cell";
    plan.entries = {{"bin", std::nullopt},
                    {"dev", std::nullopt},
                    {"etc", std::nullopt},
                    {"lib64", "usr/lib64"},
                    {"nix", std::nullopt}};
    plan.etc = {{"passwd", std::nullopt}, {"ssl", std::nullopt}};
    plan.nix = "/t/nix";
    plan.home = "/t/home";
    plan.tmp = "/t/tmp";
    plan.own_etc = "/t/etc";
    plan.nix_config = "sandbox = true\n";
    plan.outside = true;
    return plan;
}

/// How often `words` stand in `argv`, one after the other.
long count(const std::vector<std::string>& argv, const std::vector<std::string>& words) {
    long found = 0;
    for (auto at = argv.begin(); at != argv.end(); ++at) {
        at = std::search(at, argv.end(), words.begin(), words.end());
        if (at == argv.end()) {
            break;
        }
        ++found;
    }
    return found;
}

} // namespace

TEST_CASE("a command with a network is pasta around bwrap around it", "[build][cell]") {
    const auto argv = cell_argv(plan(), {{"/bin/nix", "--", "x"}, true, {}});
    CHECK(argv.front() == "/usr/bin/pasta");
    for (const char* direction : {"-t", "-u", "-T", "-U"}) {
        CHECK(count(argv, {direction, "none"}) == 1);
    }
    CHECK(count(argv, {"--no-map-gw"}) == 1);
    CHECK(count(argv, {"--dns-forward"}) == 0);
    CHECK(count(argv,
                {"--", "/usr/bin/bwrap", "--unshare-user", "--uid", "1000", "--gid", "100"}) == 1);
    CHECK(count(argv, {"--unshare-net"}) == 0);
    CHECK(std::vector<std::string>(argv.end() - 4, argv.end()) ==
          std::vector<std::string>{"--", "/bin/nix", "--", "x"});
}

TEST_CASE("without a network, or where there is none, the namespace is empty", "[build][cell]") {
    CellPlan alone = plan();
    const bool wanted = GENERATE(true, false);
    alone.outside = !wanted;
    const auto argv = cell_argv(alone, {{"/bin/nix"}, wanted, {}});
    CHECK(argv.front() == "/usr/bin/bwrap");
    CHECK(count(argv, {"--unshare-net"}) == 1);
}

TEST_CASE("the cell sees its root, its own directories and nothing else", "[build][cell]") {
    const auto argv = cell_argv(plan(), {{"/bin/nix"}, false, {{"/srv/guest", "/inputs/guest"}}});
    CHECK(count(argv, {"--ro-bind", "/cell/bin", "/bin"}) == 1);
    CHECK(count(argv, {"--symlink", "usr/lib64", "/lib64"}) == 1);
    CHECK(count(argv, {"--ro-bind", "/cell/etc/ssl", "/etc/ssl"}) == 1);
    CHECK(count(argv, {"--ro-bind", "/t/etc/passwd", "/etc/passwd"}) == 1);
    CHECK(count(argv, {"--ro-bind", "/srv/guest", "/inputs/guest"}) == 1);
    // what bwrap gives is not taken from the root
    for (const char* name : {"/cell/dev", "/cell/nix", "/cell/etc", "/cell/etc/passwd"}) {
        CHECK(count(argv, {"--ro-bind", name}) == 0);
    }
    CHECK(count(argv, {"--bind"}) == 3);
    CHECK(count(argv, {"--clearenv"}) == 1);
    for (const char* option : {"--unshare-pid", "--unshare-ipc", "--unshare-uts",
                               "--unshare-cgroup-try", "--die-with-parent", "--new-session"}) {
        CHECK(count(argv, {option}) == 1);
    }
}

TEST_CASE("a default route is one to everywhere", "[build][cell]") {
    const std::string head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n";
    CHECK(has_default_route(head + "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n",
                            ""));
    CHECK_FALSE(
        has_default_route(head + "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\n", ""));
    CHECK_FALSE(has_default_route("", ""));
    const std::string zero(32, '0');
    const auto six = [&](const std::string& length, const std::string& device) {
        return zero + " " + length + " " + zero + " 00 " + zero + " 00000400 1 0 00000003 " +
               device + "\n";
    };
    CHECK(has_default_route(head, six("00", "eth0")));
    CHECK_FALSE(has_default_route(head, six("00", "lo")));
    CHECK_FALSE(has_default_route(head, six("40", "eth0")));
}

TEST_CASE("resolvers on the host's loopback are reached through pasta", "[build][cell]") {
    const auto far = cell_resolvers("search x\nnameserver 192.0.2.53\nnameserver 127.0.0.53\n");
    CHECK(far.text == "nameserver 192.0.2.53\n");
    CHECK_FALSE(far.forward);
    const auto near = cell_resolvers("nameserver 127.0.0.53\noptions edns0\n");
    CHECK(near.forward);
    CHECK(near.text == std::string("nameserver ") + kForwardedDns + "\n");
    CHECK(cell_resolvers("").text.empty());
    CHECK_FALSE(cell_resolvers("").forward);
}
