// SPDX-License-Identifier: MIT
#include <sky-nomad-submit/admission.hpp>

#include <sky/error.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

namespace sky::submit {
namespace {

#if defined(__x86_64__)
constexpr const char* kSystem = "x86_64-linux";
#elif defined(__aarch64__)
constexpr const char* kSystem = "aarch64-linux";
#else
#error "no NixOS on this architecture"
#endif

std::uint64_t positive(std::int64_t number) {
    return number < 0 ? 0 : static_cast<std::uint64_t>(number);
}

void check_machine_limit(const char* what, std::uint64_t asked, std::int64_t allowed) {
    if (asked > positive(allowed)) {
        fail(ExitCode::kRefused, "{}: asked {}, allowed {} for a machine", what, asked, allowed);
    }
}

void check_quota(const char* what, std::uint64_t asked, std::uint64_t used, std::int64_t allowed) {
    if (asked > positive(allowed) || used > positive(allowed) - asked) {
        fail(ExitCode::kRefused, "{}: asked {}, used {}, allowed {}", what, asked, used, allowed);
    }
}

void check_kind(const Request& r) {
    if (r.manifest.system != kSystem) {
        fail(ExitCode::kRefused, "system: this host runs {} (set nixpkgs.hostPlatform)", kSystem);
    }
    const auto& known = r.config.hypervisors;
    if (std::find(known.begin(), known.end(), r.manifest.hypervisor) == known.end()) {
        fail(ExitCode::kRefused, "hypervisor: asked {}, allowed {}", r.manifest.hypervisor,
             fmt::join(known, ", "));
    }
    if (r.record.find(r.manifest.runner) == nullptr) {
        fail(ExitCode::kRefused, "runner: not in the closure of the deployment");
    }
    if (r.manifest.toplevel && r.record.find(*r.manifest.toplevel) == nullptr) {
        fail(ExitCode::kRefused, "toplevel: not in the closure of the deployment");
    }
    if (r.manifest.machine_id != r.machine.machine_id) {
        throw AnotherIdentity(ExitCode::kRefused,
                              "machine_id: built for another identity (push again)");
    }
}

std::vector<Spec::Interface> grant_interfaces(const Request& r) {
    std::vector<Spec::Interface> out;
    std::set<Network> networks;
    for (const auto& asked : r.manifest.interfaces) {
        const auto number = static_cast<std::uint32_t>(out.size());
        const auto& name = asked.network;
        const auto network = r.config.networks.find(name);
        if (network == r.config.networks.end() ||
            !network->second.open_to(r.record.machine.tenant) ||
            !r.machine.addresses.contains(name.str())) {
            fail(ExitCode::kRefused, "network: no network '{}' for you", name.str());
        }
        if (!networks.insert(name).second) {
            fail(ExitCode::kRefused, "network: '{}' twice (one interface each)", name.str());
        }
        if (asked.mac != machine_mac(r.machine.index, number)) {
            throw AnotherIdentity(
                ExitCode::kRefused,
                fmt::format("mac of sky{}: built for another identity (push again)", number));
        }
        if (asked.queues != 1 && asked.queues != r.manifest.vcpu) {
            fail(ExitCode::kRefused, "queues of sky{}: asked {}, allowed 1 or {}", number,
                 asked.queues, r.manifest.vcpu);
        }
        out.push_back({.tap = fmt::format("sky{}", number),
                       .mac = asked.mac,
                       .network = name,
                       .queues = asked.queues});
    }
    return out;
}

/// A volume never shrinks: what is on the storage already is the least.
std::vector<Spec::Disk> grant_volumes(const Request& r) {
    std::vector<Spec::Disk> out;
    for (const auto& asked : r.manifest.volumes) {
        const auto made = r.machine.volumes.find(asked.name.str());
        const bool there = made != r.machine.volumes.end();
        const auto& volumes = r.config.volumes;
        const std::string storage_class =
            asked.storage_class.value_or(there ? made->second.storage_class : volumes.standard);
        if (!volumes.classes.contains(storage_class)) {
            std::string allowed;
            for (const auto& [name, of] : volumes.classes) {
                allowed += (allowed.empty() ? "'" : ", '") + name + "'";
            }
            fail(ExitCode::kRefused, "volume '{}': asked class '{}', allowed {}", asked.name.str(),
                 storage_class, allowed);
        }
        if (there && made->second.storage_class != storage_class) {
            fail(ExitCode::kRefused, "volume '{}': asked class '{}', it is of class '{}'",
                 asked.name.str(), storage_class, made->second.storage_class);
        }
        const std::uint64_t least = there ? made->second.size_mib : 0;
        out.push_back({.name = asked.name,
                       .storage_class = storage_class,
                       .size_mib = std::max(asked.size_mib, least),
                       .read_only = asked.read_only});
    }
    return out;
}

/// Names of the operator's, and of the tenant's own machines.
Placing grant_placing(const Request& r) {
    Placing out;
    const auto& allowed = r.config.tenant(r.record.machine.tenant).may_ask;
    for (const auto& name : r.manifest.asked.placements) {
        if (std::find(allowed.begin(), allowed.end(), name) == allowed.end()) {
            fail(ExitCode::kRefused, "placement: asked '{}', allowed {}", name,
                 allowed.empty() ? "none" : fmt::format("'{}'", fmt::join(allowed, "', '")));
        }
        out.placements.push_back(name);
    }
    for (const auto& name : r.manifest.asked.apart) {
        const auto slash = name.find('/');
        const auto& own = r.record.machine;
        MachinePath other{own.tenant,
                          slash == name.npos ? own.repo : Repo::parse(name.substr(0, slash)),
                          Machine::parse(slash == name.npos ? name : name.substr(slash + 1))};
        if (!r.config.nomad) {
            fail(ExitCode::kRefused, "placement: apart from '{}': there is but one host", name);
        }
        if (other == own) {
            fail(ExitCode::kRefused, "placement: apart from itself");
        }
        out.apart.push_back(std::move(other));
    }
    return out;
}

std::uint64_t sum_of(const std::map<std::string, Registry::Disk>& disks) {
    std::uint64_t sum = 0;
    for (const auto& [name, disk] : disks) {
        sum += disk.size_mib;
    }
    return sum;
}

/// Volumes asked for, and those that an earlier revision made.
std::uint64_t disk_of(const std::vector<Spec::Disk>& asked, const Registry::Machine& machine) {
    std::uint64_t sum = sum_of(machine.volumes);
    for (const auto& disk : asked) {
        const auto made = machine.volumes.find(disk.name.str());
        sum += disk.size_mib - (made == machine.volumes.end() ? 0 : made->second.size_mib);
    }
    return sum;
}

} // namespace

Amount usage_of(const Tenant& tenant, const MachinePath& except, const Records::All& records,
                const Registry& registry) {
    Amount used;
    std::map<std::string, std::uint64_t> disk; // by machine: the larger of granted and made
    for (const auto& [path, record] : records) {
        if (path == except || path.tenant != tenant) {
            continue;
        }
        if (record.target() || record.did.state == MachineRecord::State::kRunning) {
            used.vcpu += record.granted.vcpu;
            used.mem_mib += record.granted.mem_mib;
        }
        disk[path.joined()] = record.granted.disk_mib;
    }
    const auto count = [&](const std::string& joined, std::uint64_t mib) {
        const auto path = MachinePath::parse_joined(joined);
        if (path.tenant == tenant && path != except) {
            disk[joined] = std::max(disk[joined], mib);
        }
    };
    for (const auto& [joined, machine] : registry.machines) {
        count(joined, sum_of(machine.volumes));
    }
    for (const auto& [joined, kept] : registry.kept) {
        count(joined, sum_of(kept));
    }
    for (const auto& [joined, mib] : disk) {
        used.disk_mib += mib;
    }
    return used;
}

Admitted admit(const Request& r) {
    check_kind(r);
    const auto& m = r.manifest;
    check_machine_limit("vcpu", m.vcpu, r.config.machine.vcpu_max);
    check_machine_limit("mem_mib", m.mem_mib, r.config.machine.mem_max_mib);
    Admitted out{.spec = {.path = r.record.machine,
                          .rev = r.record.rev,
                          .deployment = r.record.deployment,
                          .nar_hash = nar_hash_text(r.record.nar_hash),
                          .runner = m.runner,
                          .hypervisor = m.hypervisor,
                          .store = m.store,
                          .vcpu = m.vcpu,
                          .mem_mib = m.mem_mib,
                          .machine_id = m.machine_id,
                          .interfaces = grant_interfaces(r),
                          .volumes = grant_volumes(r),
                          .ready = m.ready,
                          .on_poweroff = m.on_poweroff,
                          .ready_s = static_cast<std::uint32_t>(r.config.machine.ready_s),
                          .stop_s = static_cast<std::uint32_t>(r.config.machine.stop_s)},
                 .granted = {.vcpu = m.vcpu, .mem_mib = m.mem_mib, .disk_mib = 0}};
    out.placing = grant_placing(r);
    out.granted.disk_mib = disk_of(out.spec.volumes, r.machine);
    const Quota& quota = r.config.tenant(r.record.machine.tenant).quota;
    check_quota("vcpu", out.granted.vcpu, r.used.vcpu, quota.vcpu);
    check_quota("mem_mib", out.granted.mem_mib, r.used.mem_mib, quota.mem_mib);
    check_quota("disk_mib", out.granted.disk_mib, r.used.disk_mib, quota.disk_mib);
    return out;
}

} // namespace sky::submit
