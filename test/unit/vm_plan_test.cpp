// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <sky-vm-run/cgroup.hpp>
#include <sky-vm-run/confine.hpp>
#include <sky-vm-run/host-start.hpp>
#include <sky-vm-run/network.hpp>
#include <sky-vm-run/step.hpp>
#include <sky-vm-run/view.hpp>
#include <sky-vm-run/vm.hpp>
#include <sky-vm-run/volume.hpp>
#include <sky/error.hpp>
#include <sky/json.hpp>

#include <algorithm>
#include <csignal>
#include <linux/audit.h>
#include <linux/if_tun.h>
#include <linux/seccomp.h>
#include <nlohmann/json.hpp>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

using namespace sky;
using namespace sky::vm;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

const std::string kHash(52, '0');
const std::string kUuid = "12345678-1234-4123-8123-123456789abc";

Spec spec() {
    const std::string base(32, '1');
    return {.path = MachinePath::parse_joined("alice.infra.www"),
            .rev = Revision::parse(std::string(40, 'a')),
            .deployment = StorePath::parse("/nix/store/" + base + "-skyflake-www"),
            .nar_hash = "sha256:" + kHash,
            .runner = StorePath::parse("/nix/store/" + std::string(32, '2') + "-runner"),
            .hypervisor = "qemu",
            .vcpu = 2,
            .mem_mib = 256,
            .machine_id = kUuid,
            .interfaces = {{"sky0", machine_mac(7, 0), Network::parse("default"), 2}},
            .volumes = {{Volume::parse("root"), "local", 64, false},
                        {Volume::parse("data"), "local", 32, true}},
            .ready = {}};
}

Registry::Machine entry() {
    return {.index = 7,
            .uid = 2000028,
            .machine_id = kUuid,
            .addresses = {{"default", "10.88.1.10"}},
            .volumes = {}};
}

Config config() {
    Config c;
    c.file = "/etc/c.json";
    c.host = "n1";
    c.tenants[Tenant::parse("alice")] = {.uid = 3001, .quota = {}};
    c.networks[Network::parse("default")] = {};
    return c;
}

std::string refusal(const Spec& asked, const Config& c = config()) {
    try {
        check_spec(asked, c, entry());
    } catch (const Error& e) {
        CHECK(e.code() == ExitCode::kRefused);
        return e.what();
    }
    return "";
}

const Mount* at(const View& view, const std::string& target) {
    const auto found =
        std::find_if(view.begin(), view.end(), [&](const Mount& m) { return m.target == target; });
    return found == view.end() ? nullptr : &*found;
}

/// What a classic BPF program answers: the few instructions that ours uses.
std::uint32_t verdict(const std::vector<sock_filter>& filter, std::uint32_t arch, std::uint32_t nr,
                      std::uint64_t first) {
    std::uint32_t a = 0;
    for (std::size_t pc = 0; pc < filter.size(); ++pc) {
        const auto& i = filter.at(pc);
        switch (i.code) {
        case BPF_LD | BPF_W | BPF_ABS:
            a = i.k == offsetof(seccomp_data, arch) ? arch
                : i.k == offsetof(seccomp_data, nr) ? nr
                                                    : static_cast<std::uint32_t>(first);
            break;
        case BPF_RET | BPF_K:
            return i.k;
        case BPF_JMP | BPF_JEQ | BPF_K:
            pc += a == i.k ? i.jt : i.jf;
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            pc += a >= i.k ? i.jt : i.jf;
            break;
        case BPF_JMP | BPF_JSET | BPF_K:
            pc += (a & i.k) != 0 ? i.jt : i.jf;
            break;
        default:
            FAIL("an instruction that the test does not know");
        }
    }
    FAIL("the program runs off its end");
    return 0;
}

} // namespace

TEST_CASE("a supervisor's next step", "[vm]") {
    const Facts alive{.want_running = true, .alive = true, .owned = true, .current = true};
    CHECK(next_step(alive) == Step::kWatch);
    Facts f = alive;
    f.current = false; // the old one runs on until the new one lies ready
    CHECK(next_step(f) == Step::kPrepare);
    f.backoff = milliseconds(1);
    CHECK(next_step(f) == Step::kWatch);
    f.prepared = true;
    CHECK(next_step(f) == Step::kStop);
    f.prepared = false;
    f.hopeless = true;
    CHECK(next_step(f) == Step::kWatch);
    f = alive;
    f.want_running = false;
    CHECK(next_step(f) == Step::kStop);
    f = alive;
    f.terminating = true;
    CHECK(next_step(f) == Step::kStop);
    const Facts dead{.want_running = true, .owned = true};
    CHECK(next_step(dead) == Step::kBoot);
    f = dead;
    f.backoff = milliseconds(1);
    CHECK(next_step(f) == Step::kWait);
    for (bool Facts::*reason : {&Facts::terminating, &Facts::rests, &Facts::hopeless}) {
        Facts g = f;
        g.*reason = true;
        CHECK(next_step(g) == Step::kLeave);
    }
    CHECK(next_step(Facts{}) == Step::kLeave);
}

TEST_CASE("a supervisor asks whose the machine is before it starts or adopts it", "[vm]") {
    Facts f{.want_running = true};
    CHECK(next_step(f) == Step::kOwn);
    f.alive = true;
    CHECK(next_step(f) == Step::kOwn);
    f.backoff = milliseconds(1); // it lives on while nobody answers
    CHECK(next_step(f) == Step::kWatch);
    f.alive = false;
    CHECK(next_step(f) == Step::kWait);
    f.refused = true;
    CHECK(next_step(f) == Step::kLeave);
    f.alive = true;
    CHECK(next_step(f) == Step::kLeave); // another's supervisor adopts it
}

TEST_CASE("a machine that powered itself off does not end Nomad's task", "[vm]") {
    Facts f{.want_running = true, .owned = true, .stays = true, .rests = true};
    CHECK(next_step(f) == Step::kRest);
    f.terminating = true;
    CHECK(next_step(f) == Step::kLeave);
    f.terminating = false;
    f.stays = false;
    CHECK(next_step(f) == Step::kLeave);
}

TEST_CASE("back-off doubles to a minute and begins anew after a steady time", "[vm]") {
    Backoff backoff;
    std::vector<long> waits;
    for (int i = 0; i < 8; ++i) {
        waits.push_back(backoff.died(seconds(2)).count());
    }
    CHECK(waits == std::vector<long>{1, 2, 4, 8, 16, 32, 60, 60});
    CHECK(backoff.restarts() == 8);
    CHECK(backoff.died(Backoff::kSteady) == seconds(1));
    CHECK(backoff.died(seconds(1)) == seconds(2));
    backoff.reset();
    CHECK(backoff.died(seconds(1)) == seconds(1));
}

TEST_CASE("all of a stop fits inside its time", "[vm]") {
    for (const long s : {1L, 2L, 5L, 20L, 30L, 3600L}) {
        const StopPlan plan = plan_stop(seconds(s));
        CHECK(plan.terminate_at > milliseconds(0));
        CHECK(plan.terminate_at < plan.kill_at);
        CHECK(plan.kill_at < seconds(s));
        CHECK(plan.terminate_at >= milliseconds(s * 500)); // most of it is the guest's
    }
}

TEST_CASE("a volume is made, kept or grown, and never made twice", "[vm]") {
    const Spec::Disk disk{Volume::parse("root"), "local", 64, false};
    const Registry::Disk known{"local", 64};
    constexpr std::uint64_t kMib = 1U << 20U;
    CHECK(plan_volume(disk, std::nullopt, std::nullopt) == VolumeStep::kMake);
    CHECK(plan_volume(disk, known, 64 * kMib) == VolumeStep::kKeep);
    CHECK(plan_volume(disk, known, 100 * kMib) == VolumeStep::kKeep);
    CHECK(plan_volume(disk, known, 63 * kMib) == VolumeStep::kGrow);
    // A crash between rename and registry left it: it is ours.
    CHECK(plan_volume(disk, std::nullopt, 64 * kMib) == VolumeStep::kKeep);
    CHECK_THROWS_WITH(plan_volume(disk, known, std::nullopt), ContainsSubstring("never made anew"));
}

TEST_CASE("the runner's view: its closure, its disks, its directory", "[vm]") {
    const auto s = spec();
    const View view =
        plan_runner_view(s, {s.deployment, s.runner},
                         {"/s/store/alice", {{"local", "/s/volumes"}}, "/s/sock"}, 2000028);
    CHECK(at(view, s.runner.str())->source == "/s/store/alice/" + s.runner.base());
    CHECK(at(view, "/sky/run")->uid == 2000028);
    CHECK(at(view, "/sky/volumes/root.img")->writable);
    CHECK_FALSE(at(view, "/sky/volumes/data.img")->writable);
    CHECK(at(view, "/sky/sock")->source == "/s/sock");
    // Nothing but its disks can be written through a bind mount.
    for (const auto& mount : view) {
        const bool disk = mount.target.parent_path() == "/sky/volumes";
        CHECK((!mount.writable || disk));
    }
    auto without = s;
    without.store = Spec::Store::kDisk;
    without.volumes.clear();
    CHECK(at(plan_runner_view(without, {}, {}, 1), "/sky/sock") == nullptr);
}

TEST_CASE("virtiofsd's view holds the closure and its program, nothing to write", "[vm]") {
    const auto s = spec();
    const View view =
        plan_share_view(config(), {s.runner}, {"/s/store", {{"local", "/s/volumes"}}, "/s/sock"});
    CHECK(at(view, "/sky/virtiofsd")->source == "/usr/libexec/virtiofsd");
    CHECK(at(view, "/usr") != nullptr);
    CHECK(at(view, "/sky/run") == nullptr);
    CHECK(std::none_of(view.begin(), view.end(), [](const Mount& m) {
        return m.writable || m.source == "/s/volumes" || m.target.parent_path() == "/sky/volumes";
    }));
}

TEST_CASE(
    "virtiofsd's programs of the host's store are there before it is closed, never a tenant's",
    "[vm]") {
    const auto s = spec();
    auto c = config();
    c.program_roots = {s.runner.str(),
                       "/nix/store/own-virtiofsd"}; // a closure that claims to hold one
    const View view =
        plan_share_view(c, {s.runner}, {"/s/store", {{"local", "/s/volumes"}}, "/s/sock"});
    const auto index = [&](auto&& is) {
        const auto found = std::find_if(view.begin(), view.end(), is);
        REQUIRE(found != view.end());
        return found - view.begin();
    };
    const auto closed = index([](const Mount& m) { return m.kind == Mount::Kind::kReadOnly; });
    for (const auto& root : c.program_roots) {
        CHECK(index([&](const Mount& m) { return m.target == root; }) < closed);
        CHECK(std::all_of(view.begin(), view.end(),
                          [&](const Mount& m) { return m.target != root || m.source == root; }));
    }
}

TEST_CASE("cgroups: a hierarchy per controller, or one for all", "[vm]") {
    const CgroupLimits limits = limits_for(256, 2);
    CHECK(limits.mem_mib > 256);
    const auto v1 =
        plan_cgroups({"/cg", "", false, false, {"memory", "pids", "cpu"}}, "sky", "a.b.c", limits);
    REQUIRE(v1.size() == 3);
    CHECK(v1[0].directory == "/cg/memory/sky/a.b.c");
    CHECK(v1[0].limits[0].first == "memory.limit_in_bytes");
    CHECK(v1[2].limits[1] == std::pair<std::string, std::string>("cpu.cfs_quota_us", "300000"));
    const auto v2 = plan_cgroups({"/cg", "/cg/u.service", true, true, {"memory", "pids", "cpu"}},
                                 "sky", "a.b.c", limits);
    REQUIRE(v2.size() == 1);
    CHECK(v2[0].directory == "/cg/u.service/a.b.c");
    CHECK(v2[0].limits[0] ==
          std::pair<std::string, std::string>("memory.max", std::to_string(limits.mem_mib << 20U)));
    CHECK(v2[0].limits[1] == std::pair<std::string, std::string>("memory.swap.max", "0"));
    CHECK(v2[0].limits[4].second == "300000 100000");
}

TEST_CASE("cgroups: the unit that a supervisor runs in", "[vm]") {
    CHECK(unit_cgroup("0::/sky.slice/sky-vm-a.b.c-12.service\n", "sky") ==
          "sky.slice/sky-vm-a.b.c-12.service");
    CHECK(unit_cgroup("0::/sky.slice/sky-vm-a.b.c-12.service/supervisor\n", "sky") ==
          "sky.slice/sky-vm-a.b.c-12.service");
    CHECK(unit_cgroup("1:memory:/x\n0::/sky-vm-a.b.c-12.service/a.b.c\n", "sky") ==
          "sky-vm-a.b.c-12.service");
    CHECK(unit_cgroup("0::/user.slice/user-3001.slice/session-1.scope\n", "sky").empty());
    CHECK(unit_cgroup("0::/sky.slice/skyx-vm-a.b.c-12.service\n", "sky").empty());
    CHECK(unit_cgroup("0::/sky.slice/sky-vm-a.b.c-12.scope\n", "sky").empty());
    CHECK(unit_cgroup("0::/\n", "sky").empty());
    CHECK(unit_cgroup("4:memory:/sky-vm-a.b.c-12.service\n", "sky").empty());
}

TEST_CASE("a spec is checked against configuration and registry", "[vm]") {
    CHECK(refusal(spec()).empty());
    auto s = spec();
    s.vcpu = 9;
    CHECK_THAT(refusal(s), ContainsSubstring("spec.vcpu"));
    s = spec();
    s.mem_mib = 1U << 20U;
    CHECK_THAT(refusal(s), ContainsSubstring("spec.mem_mib"));
    s = spec();
    s.hypervisor = "crosvm";
    CHECK_THAT(refusal(s), ContainsSubstring("spec.hypervisor"));
    s = spec();
    s.interfaces[0].mac = machine_mac(8, 0);
    CHECK_THAT(refusal(s), ContainsSubstring("spec.interfaces.mac"));
    s = spec();
    s.interfaces[0].tap = "sky1";
    CHECK_THAT(refusal(s), ContainsSubstring("spec.interfaces.tap"));
    s = spec();
    s.interfaces[0].queues = 3;
    CHECK_THAT(refusal(s), ContainsSubstring("spec.interfaces.queues"));
    s = spec();
    s.interfaces[0].network = Network::parse("other");
    CHECK_THAT(refusal(s), ContainsSubstring("spec.interfaces.network"));
    s = spec();
    s.machine_id = "22345678-1234-4123-8123-123456789abc";
    CHECK_THAT(refusal(s), ContainsSubstring("spec.machine_id"));
    s = spec();
    s.volumes[0].size_mib = 1U << 30U;
    CHECK_THAT(refusal(s), ContainsSubstring("spec.volumes.size_mib"));
    Config nobody = config();
    nobody.tenants.clear();
    CHECK_THAT(refusal(spec(), nobody), ContainsSubstring("no tenant 'alice'"));
}

TEST_CASE("what sky-net-setup is asked", "[vm]") {
    const Json up = parse_json(net_request(spec(), 42), 65536, "request");
    CHECK(up.at("netns") == "/proc/42/ns/net");
    CHECK(up.at("interfaces").at(0) ==
          Json{{"tap", "sky0"}, {"mac", machine_mac(7, 0)}, {"network", "default"}, {"queues", 2}});
    CHECK_FALSE(parse_json(net_request(spec(), 0), 65536, "request").contains("netns"));
}

TEST_CASE("the call filter forbids what leads out, and nothing that a program needs", "[vm]") {
    const auto filter = call_filter();
    const auto ask = [&](long nr, std::uint64_t first = 0) {
#if defined(__x86_64__)
        return verdict(filter, AUDIT_ARCH_X86_64, static_cast<std::uint32_t>(nr), first);
#else
        return verdict(filter, AUDIT_ARCH_AARCH64, static_cast<std::uint32_t>(nr), first);
#endif
    };
    constexpr std::uint32_t kEperm = SECCOMP_RET_ERRNO | 1U;
    CHECK(ask(SYS_read) == SECCOMP_RET_ALLOW);
    CHECK(ask(SYS_clone, SIGCHLD) == SECCOMP_RET_ALLOW);
    CHECK(ask(SYS_clone, CLONE_VM | CLONE_THREAD | CLONE_SIGHAND) == SECCOMP_RET_ALLOW);
    CHECK(ask(SYS_clone, CLONE_NEWUSER | SIGCHLD) == kEperm);
    CHECK(ask(SYS_unshare, CLONE_NEWUSER | CLONE_NEWNS) == kEperm);
    CHECK(ask(SYS_unshare, CLONE_FILES) == SECCOMP_RET_ALLOW);
    CHECK(ask(SYS_clone3) == (SECCOMP_RET_ERRNO | 38U)); // ENOSYS: libc falls back to clone
    CHECK(ask(SYS_setns) == kEperm);
    for (const auto family : {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK}) {
        CHECK(ask(SYS_socket, static_cast<std::uint64_t>(family)) == SECCOMP_RET_ALLOW);
    }
    for (const auto family : {AF_VSOCK, AF_PACKET, AF_ALG, AF_QIPCRTR}) {
        CHECK(ask(SYS_socket, static_cast<std::uint64_t>(family)) == (SECCOMP_RET_ERRNO | 97U));
    }
    CHECK(ask(SYS_ioctl, SIOCSIFHWADDR) == kEperm); // the test's machine gives any argument
    CHECK(ask(SYS_ioctl, TUNSETIFF) == SECCOMP_RET_ALLOW);
    CHECK(verdict(filter, AUDIT_ARCH_I386, SYS_read, 0) == SECCOMP_RET_KILL_PROCESS);
#if defined(__x86_64__)
    CHECK(ask(0x40000000L | SYS_unshare, CLONE_NEWUSER) == SECCOMP_RET_KILL_PROCESS);
#endif
}

TEST_CASE("the directories of a host", "[vm]") {
    const Owners owners{11, 12, 21, 22, {{Tenant::parse("alice"), 3002}}};
    const auto plan = plan_directories(config(), owners);
    const auto has = [&](const Directory& d) {
        return std::find(plan.begin(), plan.end(), d) != plan.end();
    };
    CHECK(has({"tenants/alice", 0, 0, 0711}));
    CHECK(has({"tenants/alice/repos", 3001, 3002, 0700, true}));
    CHECK(has({"tenants/alice/outbox", 3001, 12, 02750}));
    CHECK(has({"cache/alice", 11, 12, 0700, true}));
    CHECK(has({"deployments", 11, 22, 02750, true}));
    CHECK(has({"records", 21, 22, 0750, true}));
    CHECK(has({"store/alice", 0, 0, 0755}));
    // Parents before children.
    for (std::size_t i = 0; i < plan.size(); ++i) {
        const auto parent = plan[i].path.parent_path();
        CHECK((parent.empty() ||
               std::any_of(plan.begin(), plan.begin() + static_cast<long>(i), [&](const auto& d) {
                   return d.path == parent && d.shared == plan[i].shared;
               })));
    }
}
