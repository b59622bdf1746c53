// SPDX-License-Identifier: MIT
#include <sky-vm-run/gc.hpp>

#include <sky-vm-run/driver.hpp>
#include <sky-vm-run/held-registry.hpp>
#include <sky-vm-run/processes.hpp>
#include <sky-vm-run/stillness.hpp>
#include <sky-vm-run/store-gc.hpp>

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/lines.hpp>
#include <sky/lock.hpp>
#include <sky/log.hpp>
#include <sky/privilege.hpp>
#include <sky/registry.hpp>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <exception>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace sky::vm {
namespace {

namespace fs = std::filesystem;

constexpr auto kWho = "sky-vm-run gc";

std::vector<MachinePath> machines_here(const Config& config, const Tenant& tenant) {
    std::vector<MachinePath> out;
    for (const auto& entry : fs::directory_iterator(config.state / "vm")) {
        auto path = MachinePath::parse_joined(entry.path().filename().string());
        if (path.tenant == tenant) {
            out.push_back(std::move(path));
        }
    }
    std::sort(out.begin(), out.end());
    return out;
}

/// One tenant's turn.
class Collection {
  public:
    Collection(const Config& config, const Tenant& tenant, const GcOptions& options)
        : config_(config), tenant_(tenant), options_(options), now_(std::time(nullptr)) {}

    /// False: some volume could not be removed.
    [[nodiscard]] bool run() {
        std::exception_ptr away; // Nomad, of which the store's room is not made to wait
        try {
            expire_volumes();
            forget_machines();
        } catch (const Error& e) {
            if (e.code() != ExitCode::kUnavailable) {
                throw;
            }
            away = std::current_exception();
        }
        sweep_store();
        if (away) {
            std::rethrow_exception(away);
        }
        return all_removed_;
    }

    void report(int out) const {
        if (options_.dry.json) {
            write_line(out, json());
            return;
        }
        const char* go = options_.dry ? "would go" : "went";
        std::string text = fmt::format("{}: {} store paths stay, {} {}\n", tenant_.str(),
                                       store_.paths, store_.removed, go);
        for (const auto& path : machines_) {
            text += fmt::format("{}: what is left of it {}\n", path.text(), go);
        }
        for (const auto& volume : volumes_) {
            text += fmt::format("{}: volume {}, {} MiB, {}\n", volume.machine.text(),
                                volume.name.str(), volume.size_mib, go);
        }
        write_all(out, text);
    }

  private:
    [[nodiscard]] Json json() const {
        Json machines = Json::array();
        for (const auto& path : machines_) {
            machines.push_back(path.text());
        }
        Json volumes = Json::array();
        for (const auto& volume : volumes_) {
            volumes.push_back({{"machine", volume.machine.text()},
                               {"volume", volume.name.str()},
                               {"size_mib", volume.size_mib}});
        }
        return {{"v", 1},
                {"tenant", tenant_.str()},
                {"paths", store_.paths},
                {"removed_paths", store_.removed},
                {"removed_machines", std::move(machines)},
                {"removed_volumes", std::move(volumes)}};
    }

    /// Directories of machines whose branch is gone. The registry is held, so that none of
    /// them is registered, and thus started, meanwhile.
    void forget_machines() {
        const HeldRegistry held(config_, kWho);
        const Registry& registry = held.now();
        for (const auto& path : machines_here(config_, tenant_)) {
            if (registry.find(path) == nullptr && may_go(Vm(config_, path))) {
                machines_.push_back(path);
                if (!options_.dry) {
                    fs::remove_all(State(config_).vm(path));
                }
            }
        }
    }

    /// Nothing of it lives, and nobody is busy with it.
    [[nodiscard]] static bool may_go(const Vm& vm) {
        if (glance_at(vm).pid != 0 || fs::exists(vm.files.running())) {
            return false;
        }
        return !fs::exists(vm.files.supervisor_lock()) ||
               Lock::try_take(vm.files.supervisor_lock(), kWho).has_value();
    }

    void sweep_store() {
        StoreSweep sweep;
        sweep.dry_run = options_.dry.on;
        ::clock_gettime(CLOCK_REALTIME_COARSE, &sweep.before); // the files' own clock
        sweep.before.tv_sec -= options_.grace_s;
        for (const auto& path : machines_here(config_, tenant_)) {
            if (std::find(machines_.begin(), machines_.end(), path) == machines_.end()) {
                keep(Vm(config_, path), sweep);
            }
        }
        store_ = vm::sweep_store(State(config_).store(tenant_), sweep);
    }

    /// What it was told to run, and what it runs: not the same when a start did not restart it.
    void keep(const Vm& vm, StoreSweep& sweep) const {
        const auto spec = load<Spec>(vm.files.spec());
        // Nothing starts from a spec without a record: it moved to another host, or was stopped.
        if (spec && fs::exists(State(config_).deployment(spec->path, spec->rev))) {
            keep_closure(*spec, sweep);
        }
        if (const auto running = load<Running>(vm.files.running())) {
            keep_closure(running->spec, sweep);
            const auto since = parse_time(running->since);
            sweep.oldest = std::min(sweep.oldest.value_or(since), since);
        }
    }

    void keep_closure(const Spec& spec, StoreSweep& sweep) const {
        for (const auto& entry : load_record(config_.shared, spec.path, spec.rev).closure) {
            sweep.live.insert(entry.path.base());
        }
    }

    void expire_volumes() {
        for (const auto& volume : expired()) {
            try {
                if (options_.dry || expire(volume)) {
                    volumes_.push_back(volume);
                }
            } catch (const Error& e) { // one volume must not keep the others
                log::error("{}: volume {} stays: {}", volume.machine.text(), volume.name.str(),
                           e.what());
                all_removed_ = false;
            }
        }
    }

    [[nodiscard]] std::vector<KeptVolume> expired_in(Registry& registry) const {
        return expired_volumes(registry, tenant_, now_,
                               options_.keep_s.value_or(config_.volumes.keep_s));
    }

    /// Those of which this host is the one to remove them.
    [[nodiscard]] std::vector<KeptVolume> expired() const {
        std::vector<KeptVolume> out;
        if (options_.dry) {
            Registry registry = current_registry(config_);
            out = expired_in(registry);
        } else {
            change_registry(config_, kWho, [&](Registry& r) { out = expired_in(r); });
        }
        out.erase(std::remove_if(out.begin(), out.end(),
                                 [&](const KeptVolume& volume) { return !is_ours(volume); }),
                  out.end());
        return out;
    }

    /// False: its branch was there again, or another host was faster. The machine is held still
    /// meanwhile, not the registry: an image of some size takes its time.
    [[nodiscard]] bool expire(const KeptVolume& volume) const {
        const auto& of = config_.volumes.classes.at(volume.storage_class);
        const Stillness still(config_, volume.machine, by_process(of), kWho);
        const auto driver = driver_of(config_, volume.storage_class, volume.machine);
        static_cast<void>(driver->size(volume.name)); // throws while the storage is away
        bool gone = false;
        change_registry(config_, kWho, [&](Registry& r) {
            const auto now = expired_in(r);
            gone = std::find(now.begin(), now.end(), volume) == now.end();
            if (!gone) {
                forget_volume(r, volume.machine, volume.name);
            }
        });
        if (!gone) {
            driver->remove(volume.name);
            still.end();
        }
        return !gone;
    }

    /// Of a cluster's local volumes a host removes its own.
    [[nodiscard]] bool is_ours(const KeptVolume& volume) const {
        const auto at = config_.volumes.classes.find(volume.storage_class);
        return at != config_.volumes.classes.end() &&
               (!config_.nomad || at->second.kind != VolumeClass::Kind::kLocal ||
                driver_of(config_, volume.storage_class, volume.machine)->size(volume.name));
    }

    static std::time_t parse_time(const std::string& text) {
        std::tm parts{};
        if (::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%SZ", &parts) == nullptr) {
            fail(ExitCode::kData, "running.json: since: expected a time");
        }
        return ::timegm(&parts);
    }

    const Config& config_;
    const Tenant& tenant_;
    const GcOptions& options_;
    std::int64_t now_;
    StoreReport store_;
    std::vector<MachinePath> machines_;
    std::vector<KeptVolume> volumes_;
    bool all_removed_ = true;
};

} // namespace

std::vector<KeptVolume> expired_volumes(Registry& registry, const Tenant& tenant, std::int64_t now,
                                        std::int64_t keep_s) {
    std::vector<KeptVolume> out;
    for (auto& [joined, disks] : registry.kept) {
        const auto path = MachinePath::parse_joined(joined);
        if (path.tenant != tenant) {
            continue;
        }
        for (auto& [name, disk] : disks) {
            disk.kept_since = disk.kept_since == 0 ? now : disk.kept_since;
            if (now - disk.kept_since >= keep_s) {
                out.push_back({path, Volume::parse(name), disk.storage_class, disk.size_mib});
            }
        }
    }
    return out;
}

int gc_verb(const Config& config, const GcOptions& options, int out) {
    check_storage(config);
    if (options.tenant) {
        static_cast<void>(config.tenant(Tenant::parse(*options.tenant)));
    }
    int result = 0;
    for (const auto& [tenant, settings] : config.tenants) {
        if (options.tenant && tenant.str() != *options.tenant) {
            continue;
        }
        Collection collection(config, tenant, options);
        try {
            if (!collection.run()) {
                result = code(ExitCode::kSomeFailed);
            }
        } catch (const Error& e) { // one tenant must not hide the others
            log::error("{}: {}", tenant.str(), e.what());
            result = code(ExitCode::kSomeFailed);
        }
        collection.report(out);
    }
    if (config.nomad && !options.dry && result == 0) {
        HeldRegistry(config, kWho).sweep();
    }
    return result;
}

} // namespace sky::vm
