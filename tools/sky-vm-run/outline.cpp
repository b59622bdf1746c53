// SPDX-License-Identifier: MIT
#include <sky-vm-run/outline.hpp>

#include <sky-vm-run/fetch.hpp>
#include <sky-vm-run/processes.hpp>

#include <sky/fd.hpp>
#include <sky/lines.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace sky::vm {

Glance glance_at(const Vm& vm) {
    Glance now;
    now.wanted = load<Want>(vm.files.want()).value_or(Want{}).running;
    if (auto running = load<Running>(vm.files.running())) {
        if (const auto guard = alive_of(running->uid).guard) {
            now.pid = guard->pid;
            now.running = std::move(running->spec);
        }
    }
    return now;
}

Outline outline_start(const Spec& spec, const Glance& now,
                      const std::map<std::string, Registry::Disk>& known) {
    if (now.wanted && now.running && now.running->hash() == spec.hash()) {
        return {"do nothing: it runs this system"};
    }
    Outline out;
    if (now.lacking > 0) {
        out.push_back(
            fmt::format("fetch {} store paths into store/{}", now.lacking, spec.path.tenant.str()));
    }
    if (now.running) {
        out.push_back(
            fmt::format("shut down what runs (pid {}), within {} s", now.pid, now.running->stop_s));
    }
    for (const auto& disk : spec.volumes) {
        const auto at = known.find(disk.name.str());
        if (at == known.end()) {
            out.push_back(fmt::format("make volume {}, {} MiB", disk.name.str(), disk.size_mib));
        } else if (at->second.size_mib < disk.size_mib) {
            out.push_back(fmt::format("grow volume {} from {} to {} MiB", disk.name.str(),
                                      at->second.size_mib, disk.size_mib));
        }
    }
    out.push_back(
        fmt::format("start it: {}, {} vcpu, {} MiB", spec.hypervisor, spec.vcpu, spec.mem_mib));
    return out;
}

Outline outline_stop(const Glance& now) {
    if (now.running) {
        return {fmt::format("shut it down (pid {}), within {} s", now.pid, now.running->stop_s)};
    }
    return {now.wanted ? "stop trying to start it" : "do nothing: it does not run"};
}

Outline outline_forget(const Registry::Machine& entry) {
    Outline out{fmt::format("give back its index {}, its uids and addresses", entry.index)};
    for (const auto& [name, disk] : entry.volumes) {
        out.push_back(fmt::format("keep volume {}, {} MiB", name, disk.size_mib));
    }
    return out;
}

Outline outline_cleanup(bool left, uid_t uid) {
    if (!left) {
        return {"do nothing: nothing of it is left"};
    }
    return {fmt::format("kill what lives of uids {} to {}", uid, uid + kUidsPerMachine - 1),
            "remove its interfaces, sockets and cgroups"};
}

void print_outline(const MachinePath& path, const Outline& outline, const DryRun& dry, int out) {
    if (dry.json) {
        write_line(out, {{"v", 1},
                         {"tenant", path.tenant.str()},
                         {"repo", path.repo.str()},
                         {"machine", path.machine.str()},
                         {"would", outline}});
        return;
    }
    for (const auto& step : outline) {
        write_all(out, fmt::format("{}: would {}\n", path.text(), step));
    }
}

} // namespace sky::vm
