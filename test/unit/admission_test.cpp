// SPDX-License-Identifier: MIT
#include "catch.hpp"
#include "unit/submit.hpp"

#include <sky-nomad-submit/admission.hpp>

using namespace sky;
using namespace sky::submit;
using namespace sky::submit::test;

namespace {

struct Case {
    Config policy = config();
    Registry registry;
    MachinePath www = path("alice", "infra", "www");
    Registry::Machine machine = register_machine(registry, registry_limits(policy), www);
    Json manifest = manifest_for(machine);
    Amount used;

    Admitted admit_it() const {
        const Record record = record_of(www, rev('a'), manifest);
        return admit({.config = policy,
                      .record = record,
                      .manifest = Manifest::parse(record.manifest),
                      .machine = machine,
                      .used = used});
    }
    std::string refusal() const {
        try {
            static_cast<void>(admit_it());
        } catch (const Error& e) {
            CHECK(e.code() == ExitCode::kRefused);
            return e.what();
        }
        return "granted";
    }
    std::string with(const char* pointer, const Json& value) const {
        Case changed = *this;
        changed.manifest[Json::json_pointer(pointer)] = value;
        return changed.refusal();
    }
};

MachineRecord running(std::uint64_t vcpu, std::uint64_t mem, std::uint64_t disk) {
    MachineRecord record;
    record.rev = rev('a');
    record.did.state = MachineRecord::State::kRunning;
    record.granted = {.vcpu = vcpu, .mem_mib = mem, .disk_mib = disk};
    return record;
}

} // namespace

TEST_CASE("what is granted is what was asked, named by us") {
    const Case c;
    const Admitted out = c.admit_it();
    CHECK(out.spec.path == c.www);
    CHECK(out.spec.deployment == store_path("skyflake-wwwa"));
    CHECK(out.spec.interfaces.at(0).tap == "sky0");
    CHECK(out.spec.volumes.at(0).storage_class == "local");
    CHECK(out.spec.ready_s == 90);
    CHECK(out.granted == Amount{.vcpu = 1, .mem_mib = 512, .disk_mib = 2048});
    CHECK(Spec::parse(out.spec.dump()) == out.spec);
}

TEST_CASE("a machine's own limits are the operator's") {
    const Case c;
    CHECK(c.with("/vcpu", 4) == "vcpu: asked 4, allowed 3 for a machine");
    CHECK(c.with("/mem_mib", 1025) == "mem_mib: asked 1025, allowed 1024 for a machine");
    CHECK(c.with("/hypervisor", "firecracker") == "hypervisor: asked firecracker, allowed qemu");
    CHECK_THAT(c.with("/system", "riscv64-linux"), ContainsSubstring("system: this host runs"));
    CHECK_THAT(c.with("/runner", store_path("other").str()), ContainsSubstring("runner: not in"));
    CHECK_THAT(c.with("/toplevel", store_path("other").str()),
               ContainsSubstring("toplevel: not in"));
    CHECK_THAT(c.with("/volumes/0/class", "ceph"), ContainsSubstring("asked class 'ceph'"));
    CHECK_THAT(c.with("/interfaces/0/network", "lan"), ContainsSubstring("no network 'lan'"));
    CHECK(c.with("/interfaces/0/queues", 2) == "queues of sky0: asked 2, allowed 1 or 1");
    CHECK(c.with("/vcpu", 3) == "granted");
}

TEST_CASE("a deployment that was built for another machine is refused") {
    const Case c;
    CHECK_THAT(c.with("/machine_id", "01234567-89ab-4cde-8f01-23456789abcd"),
               ContainsSubstring("another identity"));
    CHECK_THAT(c.with("/interfaces/0/mac", machine_mac(c.machine.index + 1, 0)),
               ContainsSubstring("another identity"));
    CHECK_THAT(c.with("/interfaces/0/mac", machine_mac(c.machine.index, 1)),
               ContainsSubstring("another identity"));
    Json second = c.manifest["interfaces"][0];
    second["id"] = "sky1";
    second["mac"] = machine_mac(c.machine.index, 1);
    CHECK_THAT(c.with("/interfaces/1", second), ContainsSubstring("'default' twice"));
}

TEST_CASE("a quota's refusal says what was asked, used and allowed") {
    Case c;
    c.used = {.vcpu = 4, .mem_mib = 0, .disk_mib = 0};
    CHECK(c.refusal() == "vcpu: asked 1, used 4, allowed 4");
    c.used = {.vcpu = 3, .mem_mib = 1537, .disk_mib = 0};
    CHECK(c.refusal() == "mem_mib: asked 512, used 1537, allowed 2048");
    c.used = {.vcpu = 3, .mem_mib = 1536, .disk_mib = 6145};
    CHECK(c.refusal() == "disk_mib: asked 2048, used 6145, allowed 8192");
    c.used = {.vcpu = 3, .mem_mib = 1536, .disk_mib = 6144};
    CHECK(c.refusal() == "granted");
    c.used = {.vcpu = UINT64_MAX, .mem_mib = 0, .disk_mib = 0};
    CHECK_THAT(c.refusal(), ContainsSubstring("vcpu: asked 1"));
}

TEST_CASE("volumes never shrink, and those of earlier revisions count") {
    Case c;
    c.machine.volumes["root"] = {.storage_class = "local", .size_mib = 4096};
    c.machine.volumes["old"] = {.storage_class = "local", .size_mib = 1000};
    const Admitted out = c.admit_it();
    CHECK(out.spec.volumes.at(0).size_mib == 4096);
    CHECK(out.granted.disk_mib == 5096);
}

TEST_CASE("usage is the tenant's alone, over all repositories, without the machine itself") {
    const Case c;
    const auto other = path("alice", "two", "www");
    Records::All records{{c.www, running(2, 512, 2048)},
                         {other, running(1, 256, 100)},
                         {path("bob", "infra", "www"), running(8, 8, 8)},
                         {path("alice-x", "infra", "www"), running(8, 8, 8)}};
    const auto used = [&](const Registry& registry) {
        return usage_of(Tenant::parse("alice"), c.www, records, registry);
    };
    CHECK(used({}) == Amount{.vcpu = 1, .mem_mib = 256, .disk_mib = 100});

    // A stopped machine gives back all but its disk; one that should run counts before it does.
    records.at(other).want_running = false;
    CHECK(used({}).vcpu == 1); // still running
    records.at(other).did.state = MachineRecord::State::kStopped;
    CHECK(used({}) == Amount{.vcpu = 0, .mem_mib = 0, .disk_mib = 100});
    records.at(other).want_running = true;
    CHECK(used({}).vcpu == 1);

    // What is on the storage counts even when no record speaks of it.
    Registry registry;
    registry.machines["alice.two.www"].volumes["root"] = {.storage_class = "local",
                                                          .size_mib = 3000};
    registry.machines["alice.infra.www"].volumes["root"] = {.storage_class = "local",
                                                            .size_mib = 5000};
    registry.kept["alice.gone.www"]["root"] = {.storage_class = "local", .size_mib = 70};
    registry.kept["bob.gone.www"]["root"] = {.storage_class = "local", .size_mib = 9};
    CHECK(used(registry).disk_mib == 3070);
}
