// SPDX-License-Identifier: MIT
#include <sky-vm-run/volume-verb.hpp>

#include <sky-vm-run/driver.hpp>
#include <sky-vm-run/held-registry.hpp>
#include <sky-vm-run/outline.hpp>
#include <sky-vm-run/ownership.hpp>
#include <sky-vm-run/volume.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/json.hpp>
#include <sky/lines.hpp>
#include <sky/lock.hpp>
#include <sky/log.hpp>
#include <sky/privilege.hpp>
#include <sky/registry.hpp>
#include <sky/state.hpp>

#include <chrono>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace sky::vm {
namespace {

using std::chrono::seconds;

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

/// Nothing of the machine lives, here or elsewhere, nor begins as long as this lives: here by the
/// locks, elsewhere by the owner record, if other hosts can open the volume.
class Stillness {
  public:
    Stillness(const Config& config, const MachinePath& path, bool elsewhere)
        : vm_(config, path), change_(prepared(vm_)), supervisor_(supervisor(vm_)),
          store_(owner_store(config, path, vm_.files.owner(), seconds(10))),
          ownership_(*store_, claimant(config, ""), {.own = vm_.state.deadline()}) {
        const auto record = store_->read();
        if (glance_at(vm_).pid != 0 ||
            (record && record->owner.host != config.host && !record->owner.released)) {
            busy(path);
        }
        if (elsewhere && config.nomad) {
            volume_ = Lock::take(vm_.files.volume_lock(), me(), seconds(5));
            if (!ownership_.hold()) {
                busy(path);
            }
            held_ = true;
        }
    }
    Stillness(const Stillness&) = delete;
    Stillness& operator=(const Stillness&) = delete;
    ~Stillness() {
        try {
            if (held_) {
                settle_volumes(vm_.config, vm_.path);
                static_cast<void>(ownership_.release());
            }
        } catch (const std::exception& e) { // this host gives it up when it is asked
            log::warn("the owner record still says that this host has it: {}", e.what());
        }
    }
    /// Error(kUnavailable) if another host may have had it since.
    void end() const {
        if (held_ && held_lease(vm_.state.deadline()) != ownership_.lease()) {
            fail(ExitCode::kUnavailable,
                 "this host has lost its lease meanwhile: another may have had the volume open "
                 "(look at it before the machine starts)");
        }
    }

  private:
    static Lock prepared(const Vm& vm) {
        make_directories(vm.files.base(), 0711);
        return Lock::take(vm.files.lock(), me(), seconds(5));
    }
    /// One that has said that the machine stopped is about to let go.
    static Lock supervisor(const Vm& vm) {
        if (glance_at(vm).pid != 0) {
            busy(vm.path);
        }
        return Lock::take(vm.files.supervisor_lock(), me(), seconds(5));
    }
    [[noreturn]] static void busy(const MachinePath& path) {
        fail(ExitCode::kBusy, "machine '{}' runs (stop it first)", path.text());
    }

    Vm vm_;
    Lock change_;
    Lock supervisor_;
    std::unique_ptr<OwnerStore> store_;
    Ownership ownership_;
    std::optional<Lock> volume_;
    bool held_ = false;
};

void grow(const Config& config, const VolumeDriver& driver, const MachinePath& path,
          const Volume& name, std::uint64_t mib) {
    if (driver.size(name).value_or(0) > mib << 20U) {
        fail(ExitCode::kRefused, "volume '{}' is larger than that: it is never shrunk", name.str());
    }
    driver.grow(name, mib);
    set_size(config, path, name, mib);
}

/// The registry first: what it does not know is never refused for being away.
void remove(const Config& config, const VolumeDriver& driver, const MachinePath& path,
            const Volume& name) {
    change_registry(config, me(), [&](Registry& r) {
        if (const auto machine = r.machines.find(path.joined()); machine != r.machines.end()) {
            machine->second.volumes.erase(name.str());
        }
        if (const auto kept = r.kept.find(path.joined()); kept != r.kept.end()) {
            kept->second.erase(name.str());
            if (kept->second.empty()) {
                r.kept.erase(kept);
            }
        }
    });
    driver.remove(name);
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
    const Stillness still(config, path, elsewhere);
    const auto driver = driver_of(config, disk.storage_class, path);
    if (order.verb != "rm" && !driver->size(name)) {
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
        remove(config, *driver, path, name);
    }
    still.end();
    return 0;
}

} // namespace sky::vm
