// SPDX-License-Identifier: MIT
#include <sky-vm-run/vm.hpp>

#include <sky-vm-run/driver.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/json.hpp>
#include <sky/privilege.hpp>
#include <sky/process.hpp>
#include <sky/registry.hpp>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace sky::vm {
namespace {

void need(bool good, const char* key, std::string_view why) {
    if (!good) {
        fail(ExitCode::kRefused, "spec.{}: {}", key, why);
    }
}

void check_interfaces(const Spec& spec, const Config& config, const Registry::Machine& entry) {
    for (std::uint32_t k = 0; k < spec.interfaces.size(); ++k) {
        const auto& interface = spec.interfaces[k];
        need(interface.tap == fmt::format("sky{}", k), "interfaces.tap", "not sky0, sky1 ...");
        need(interface.mac == machine_mac(entry.index, k), "interfaces.mac",
             "not the one that the registry gave");
        const auto network = config.networks.find(interface.network);
        need(network != config.networks.end() && network->second.open_to(spec.path.tenant),
             "interfaces.network", "no such network for this tenant on this host");
        need(interface.queues >= 1 && interface.queues <= spec.vcpu, "interfaces.queues",
             "more than it has processors");
    }
}

} // namespace

Vm::Vm(const Config& config_, MachinePath path_)
    : config(config_), path(std::move(path_)), state(config_), files(state, path) {}

ViewSources Vm::sources() const {
    ViewSources out{state.store(path.tenant), volume_directories(), files.socks()};
    for (const auto& [name, of] : config.volumes.classes) {
        if (by_process(of)) {
            out.volumes[name] = files.disks();
        }
    }
    return out;
}

std::map<std::string, std::filesystem::path> Vm::volume_directories() const {
    std::map<std::string, std::filesystem::path> out;
    for (const auto& [name, of] : config.volumes.classes) {
        out[name] = state.volumes(path, of.kind);
    }
    return out;
}

std::vector<Cgroup> Vm::cgroups(const Spec& spec) const {
    return plan_cgroups(cgroup_host(config.prefix), config.prefix, path.joined(),
                        limits_for(spec.mem_mib, spec.vcpu));
}

std::vector<Cgroup> Vm::cgroups() const {
    return plan_cgroups(cgroup_host(config.prefix), config.prefix, path.joined(), {});
}

Command Vm::self(const char* verb, const std::vector<std::string>& more) const {
    Command command(config.tool("sky-vm-run"));
    command.args({"--config", config.file.string(), verb, path.joined()}).args(more);
    return command;
}

Registry::Machine Vm::entry() const {
    const Registry registry = load_registry(config);
    const auto* entry = registry.find(path);
    if (entry == nullptr) {
        fail(ExitCode::kRefused, "machine '{}' is not registered", path.text());
    }
    if (entry->uid < config.machine_uid_first ||
        entry->uid - config.machine_uid_first > config.machine_uid_count - kUidsPerMachine) {
        fail(ExitCode::kConfig, "machine_uids: the uids of '{}' lie outside", path.text());
    }
    return *entry;
}

void save_state(const Vm& vm, const StateLine& state) {
    atomic_write(vm.files.state(), dump_json(state.json(true)) + "\n",
                 {.mode = 0640,
                  .gid = account(vm.config.accounts.deploy).gid,
                  .durable = false}); // a boot later nothing of it is true
}

void check_record(const Spec& spec, const Record& record) {
    need(record.deployment == spec.deployment, "deployment", "not the one in its record");
    need(nar_hash_text(record.nar_hash) == spec.nar_hash, "nar_hash", "not the one in its record");
    need(record.find(spec.runner) != nullptr, "runner", "not in the deployment's closure");
}

void check_spec(const Spec& spec, const Config& config, const Registry::Machine& entry) {
    static_cast<void>(config.tenant(spec.path.tenant));
    const auto& known = config.hypervisors;
    need(std::find(known.begin(), known.end(), spec.hypervisor) != known.end(), "hypervisor",
         "not one of this host's");
    need(static_cast<std::int64_t>(spec.vcpu) <= config.machine.vcpu_max, "vcpu",
         fmt::format("at most {}", config.machine.vcpu_max));
    need(static_cast<std::int64_t>(spec.mem_mib) <= config.machine.mem_max_mib, "mem_mib",
         fmt::format("at most {}", config.machine.mem_max_mib));
    need(spec.machine_id == entry.machine_id, "machine_id", "not the one that the registry gave");
    need(static_cast<std::int64_t>(spec.ready_s) <= 3600, "ready_s", "at most 3600");
    need(static_cast<std::int64_t>(spec.stop_s) <= 3600, "stop_s", "at most 3600");
    const auto disk_mib = config.tenant(spec.path.tenant).quota.disk_mib;
    for (const auto& disk : spec.volumes) {
        need(config.volumes.classes.contains(disk.storage_class), "volumes.class",
             "no such storage class on this host");
        need(static_cast<std::int64_t>(disk.size_mib) <= disk_mib, "volumes.size_mib",
             fmt::format("at most {}", disk_mib));
    }
    check_interfaces(spec, config, entry);
}

} // namespace sky::vm
