// SPDX-License-Identifier: MIT
#include <sky-vm-run/volume-verb.hpp>

#include <sky-vm-run/driver.hpp>
#include <sky-vm-run/held-registry.hpp>
#include <sky-vm-run/stillness.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/json.hpp>
#include <sky/lines.hpp>
#include <sky/privilege.hpp>
#include <sky/registry.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace sky::vm {
namespace {

std::string me() {
    return fmt::format("sky-vm-run volume, pid {}", ::getpid());
}

/// The volume in the registry: a machine's, or one that waits for its branch.
Registry::Disk* find(Registry& registry, const MachinePath& path, const Volume& name) {
    const auto in = [&](std::map<std::string, Registry::Disk>& disks) {
        const auto at = disks.find(name.str());
        return at == disks.end() ? nullptr : &at->second;
    };
    const auto machine = registry.machines.find(path.joined());
    const auto kept = registry.kept.find(path.joined());
    return machine != registry.machines.end() ? in(machine->second.volumes)
           : kept != registry.kept.end()      ? in(kept->second)
                                              : nullptr;
}

Registry::Disk need(Registry& registry, const MachinePath& path, const Volume& name) {
    const auto* disk = find(registry, path, name);
    if (disk == nullptr) {
        fail(ExitCode::kRefused, "machine '{}' has no volume '{}'", path.text(), name.str());
    }
    return *disk;
}

void set_size(const Config& config, const MachinePath& path, const Volume& name,
              std::uint64_t mib) {
    change_registry(config, me(), [&](Registry& r) {
        if (auto* disk = find(r, path, name); disk != nullptr) { // gc may have been there
            disk->size_mib = mib;
        }
    });
}

void grow(const Config& config, const VolumeDriver& driver, const MachinePath& path,
          const Volume& name, std::uint64_t mib) {
    if (driver.size(name).value_or(0) > mib << 20U) {
        fail(ExitCode::kRefused, "volume '{}' is larger than that: it is never shrunk", name.str());
    }
    driver.grow(name, mib);
    set_size(config, path, name, mib);
}

std::string line_of(const std::string& joined, const std::string& name, const Registry::Disk& disk,
                    bool json) {
    const auto path = MachinePath::parse_joined(joined);
    if (!json) {
        return fmt::format("{} {} {} {} MiB{}\n", path.text(), name, disk.storage_class,
                           disk.size_mib, disk.kept_since != 0 ? ", its branch is deleted" : "");
    }
    return dump_json(
               {{"v", 1},
                {"machine", path.text()},
                {"volume", name},
                {"class", disk.storage_class},
                {"size_mib", disk.size_mib},
                {"kept_since", disk.kept_since == 0 ? Json(nullptr) : Json(disk.kept_since)}}) +
           "\n";
}

} // namespace

int volume_list_verb(const Config& config, const std::string& machine, bool json, int out) {
    check_storage(config);
    const auto only = machine.empty() ? std::string{} : MachinePath::parse_joined(machine).joined();
    const Registry registry = current_registry(config);
    for (const auto& [joined, entry] : registry.machines) {
        for (const auto& [name, disk] : entry.volumes) {
            if (only.empty() || only == joined) {
                write_all(out, line_of(joined, name, disk, json));
            }
        }
    }
    for (const auto& [joined, disks] : registry.kept) {
        for (const auto& [name, disk] : disks) {
            if (only.empty() || only == joined) {
                write_all(out, line_of(joined, name, disk, json));
            }
        }
    }
    return 0;
}

int volume_verb(const Config& config, const VolumeOrder& order, int in, int out) {
    check_storage(config);
    const auto path = MachinePath::parse_joined(order.machine);
    const auto name = Volume::parse(order.name);
    Registry registry = current_registry(config);
    const auto disk = need(registry, path, name);
    if (!disk.host.empty() && disk.host != config.host) {
        fail(ExitCode::kRefused, "volume '{}' lies on {}", name.str(), disk.host);
    }
    if (!config.volumes.classes.contains(disk.storage_class)) {
        fail(ExitCode::kConfig, "no class '{}' in the configuration", disk.storage_class);
    }
    const bool elsewhere = by_process(config.volumes.classes.at(disk.storage_class));
    const Stillness still(config, path, elsewhere, me());
    const auto driver = driver_of(config, disk.storage_class, path);
    if (!driver->size(name) && order.verb != "rm") { // throws while the storage is away
        fail(ExitCode::kRefused, "volume '{}' is in the registry and not on the storage",
             name.str());
    }
    if (order.verb == "snapshot") {
        driver->snapshot(name, Volume::parse(order.snapshot));
    } else if (order.verb == "restore") {
        driver->restore(name, Volume::parse(order.snapshot));
    } else if (order.verb == "export") {
        if (::isatty(out) == 1) { // a guest's bytes would be orders to it
            fail(ExitCode::kUsage, "a volume is not shown on a terminal (say where to: > FILE)");
        }
        driver->export_to(name, out);
    } else if (order.verb == "import") {
        const auto bytes = driver->import_from(name, in);
        set_size(config, path, name, (bytes + (1U << 20U) - 1) >> 20U);
    } else if (order.verb == "grow") {
        grow(config, *driver, path, name, order.size_mib);
    } else {
        change_registry(config, me(), [&](Registry& r) { forget_volume(r, path, name); });
        driver->remove(name);
    }
    still.end();
    return 0;
}

} // namespace sky::vm
