// SPDX-License-Identifier: MIT
#include <sky-vm-run/volume.hpp>

#include <sky-vm-run/at-once.hpp>
#include <sky-vm-run/held-registry.hpp>

#include <sky/error.hpp>
#include <sky/log.hpp>
#include <sky/registry.hpp>

#include <future>
#include <map>
#include <unistd.h>

namespace sky::vm {
namespace {

constexpr std::uint64_t kMib = 1U << 20U;

std::optional<Registry::Disk> known_volume(const Registry::Machine& entry, const Volume& name) {
    const auto at = entry.volumes.find(name.str());
    return at == entry.volumes.end() ? std::nullopt : std::optional(at->second);
}

/// Where a volume of this class stays once it is made; empty: everywhere, or there is but one host.
std::string host_of(const Config& config, const Spec::Disk& disk) {
    const bool local =
        config.volumes.classes.at(disk.storage_class).kind == VolumeClass::Kind::kLocal;
    return config.nomad && local ? config.host : "";
}

/// Before a file is looked for that another host has.
void check_host(const Config& config, const Spec::Disk& disk, const Registry::Machine& entry) {
    const auto known = known_volume(entry, disk.name);
    if (known && !known->host.empty() && known->host != config.host) {
        fail(ExitCode::kRefused, "volume '{}' lies on {}", disk.name.str(), known->host);
    }
}

const Registry::Machine& entry_of(const Registry& registry, const MachinePath& path) {
    const auto* entry = registry.find(path);
    if (entry == nullptr) {
        fail(ExitCode::kRefused, "machine '{}' is not registered", path.text());
    }
    return *entry;
}

/// After the file is whole on the storage: a crash in between leaves a file that the registry does
/// not know, which the next start takes; the other way round it would be refused for ever.
void tell_registry(const Config& config, const Registry& known, const Spec& spec) {
    const auto tell = [&](Registry& registry) {
        for (const auto& disk : spec.volumes) {
            register_volume(registry, spec.path, disk.name, disk.storage_class, disk.size_mib,
                            host_of(config, disk));
        }
    };
    Registry told = known;
    tell(told);
    if (told != known) { // most starts wait for nobody else's change
        change_registry(config, fmt::format("sky-vm-run, pid {}", ::getpid()), tell);
    }
}

/// The disks of a spec, each class's together: what was said of the class is checked, check_spec()
/// saw it.
std::map<std::string, std::vector<Spec::Disk>> by_class(const Spec& spec) {
    std::map<std::string, std::vector<Spec::Disk>> out;
    for (const auto& disk : spec.volumes) {
        out[disk.storage_class].push_back(disk);
    }
    return out;
}

std::vector<Volume> writable(const std::vector<Spec::Disk>& disks) {
    std::vector<Volume> out;
    for (const auto& disk : disks) {
        if (!disk.read_only) {
            out.push_back(disk.name);
        }
    }
    return out;
}

std::vector<VolumeStep> plan_volumes(const VolumeDriver& driver,
                                     const std::vector<Spec::Disk>& disks,
                                     const Registry::Machine& entry) {
    return at_once(disks, [&](const Spec::Disk& disk) {
        return plan_volume(disk, known_volume(entry, disk.name), driver.size(disk.name));
    });
}

/// Those that are there: others can have them open. Nothing is changed before all are looked at.
std::vector<Volume> fence_first(const VolumeDriver& driver, const std::vector<Spec::Disk>& disks,
                                const Registry::Machine& entry) {
    std::vector<Volume> out;
    const auto steps = plan_volumes(driver, disks, entry);
    for (std::size_t i = 0; i < disks.size(); ++i) {
        if (steps[i] != VolumeStep::kMake) {
            out.push_back(disks[i].name);
        }
    }
    return out;
}

void attach(const VolumeDriver& driver, const Spec::Disk& disk, VolumeStep step) {
    switch (step) {
    case VolumeStep::kMake:
        log::info("volume {}: making {} MiB", disk.name.str(), disk.size_mib);
        driver.make(disk.name, disk.size_mib);
        break;
    case VolumeStep::kGrow:
        log::info("volume {}: growing to {} MiB (its file system grows in the machine)",
                  disk.name.str(), disk.size_mib);
        driver.grow(disk.name, disk.size_mib);
        break;
    case VolumeStep::kKeep:
        break;
    }
}

} // namespace

VolumeStep plan_volume(const Spec::Disk& disk, const std::optional<Registry::Disk>& known,
                       std::optional<std::uint64_t> file_bytes) {
    if (!file_bytes) {
        if (known) {
            fail(ExitCode::kRefused,
                 "volume '{}' is in the registry and not on the storage: it is never made anew "
                 "(bring it back, or take it out of the registry)",
                 disk.name.str());
        }
        return VolumeStep::kMake;
    }
    return *file_bytes < disk.size_mib * kMib ? VolumeStep::kGrow : VolumeStep::kKeep;
}

void settle_volumes(const Config& config, const MachinePath& path) {
    for (const auto& [name, of] : config.volumes.classes) {
        driver_of(config, name, path)->settle();
    }
}

void take_back_volumes(const Config& config, const MachinePath& path) {
    for (const auto& [name, of] : config.volumes.classes) {
        driver_of(config, name, path)->take_back();
    }
}

void check_volumes(const Config& config, const Spec& spec, const Registry::Machine& entry) {
    for (const auto& [name, disks] : by_class(spec)) {
        const auto driver = driver_of(config, name, spec.path);
        for (const auto& disk : disks) {
            check_host(config, disk, entry);
        }
        auto checked = std::async(std::launch::async, [&driver] { driver->check(0); });
        const auto steps = plan_volumes(*driver, disks, entry);
        std::uint64_t make_mib = 0;
        for (std::size_t i = 0; i < disks.size(); ++i) {
            make_mib += steps[i] == VolumeStep::kMake ? disks[i].size_mib : 0;
        }
        checked.get();
        if (make_mib > 0) {
            driver->check(make_mib);
        }
    }
}

void attach_volumes(const Config& config, const Spec& spec, uid_t uid, const Former& former) {
    if (spec.volumes.empty()) {
        return;
    }
    const Registry registry = current_registry(config);
    const auto& entry = entry_of(registry, spec.path);
    for (const auto& disk : spec.volumes) {
        check_host(config, disk, entry);
    }
    for (const auto& [name, disks] : by_class(spec)) {
        const auto driver = driver_of(config, name, spec.path);
        const auto opener = uid + static_cast<uid_t>(by_process(config.volumes.classes.at(name))
                                                         ? MachineUid::kStorage
                                                         : MachineUid::kRunner);
        driver->fence(fence_first(*driver, disks, entry), former);
        const auto steps =
            plan_volumes(*driver, disks, entry); // anew: nobody else changes them now
        for (std::size_t i = 0; i < disks.size(); ++i) {
            attach(*driver, disks[i], steps[i]);
            driver->hand_over(disks[i].name, opener);
        }
    }
    tell_registry(config, registry, spec);
}

std::optional<std::vector<std::string>> volume_clients(const Config& config, const Spec& spec) {
    std::optional<std::vector<std::string>> out;
    for (const auto& [name, disks] : by_class(spec)) {
        if (config.volumes.classes.at(name).kind != VolumeClass::Kind::kFenced) {
            continue;
        }
        const auto more = driver_of(config, name, spec.path)->clients(writable(disks));
        out = out.value_or(std::vector<std::string>{});
        out->insert(out->end(), more.begin(), more.end());
    }
    return out;
}

} // namespace sky::vm
