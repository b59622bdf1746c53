// SPDX-License-Identifier: MIT
#include <sky-vm-run/gc.hpp>

#include <sky-vm-run/driver.hpp>
#include <sky-vm-run/held-registry.hpp>
#include <sky-vm-run/processes.hpp>
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

    void run() {
        std::exception_ptr away; // Nomad, of which the store's room is not made to wait
        try {
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
        expire_volumes();
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
        const HeldRegistry held(config_, "sky-vm-run gc");
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
               Lock::try_take(vm.files.supervisor_lock(), "sky-vm-run gc").has_value();
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
        HeldRegistry held(config_, "sky-vm-run gc");
        Registry registry = held.now();
        volumes_ =
            take_expired(registry, tenant_, now_, options_.keep_s.value_or(config_.volumes.keep_s),
                         [&](const KeptVolume& volume) { return is_ours(volume); });
        if (options_.dry) {
            return;
        }
        // The registry first: what it does not know is never refused for being away.
        held.save(std::move(registry));
        for (const auto& volume : volumes_) {
            driver_of(config_, volume.storage_class, volume.machine)->remove(volume.name);
        }
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
};

} // namespace

std::vector<KeptVolume> take_expired(Registry& registry, const Tenant& tenant, std::int64_t now,
                                     std::int64_t keep_s,
                                     const std::function<bool(const KeptVolume&)>& ours) {
    std::vector<KeptVolume> out;
    for (auto machine = registry.kept.begin(); machine != registry.kept.end();) {
        auto& [joined, disks] = *machine;
        const auto path = MachinePath::parse_joined(joined);
        for (auto at = disks.begin(); path.tenant == tenant && at != disks.end();) {
            auto& [name, disk] = *at;
            disk.kept_since = disk.kept_since == 0 ? now : disk.kept_since;
            KeptVolume volume{path, Volume::parse(name), disk.storage_class, disk.size_mib};
            if (now - disk.kept_since >= keep_s && ours(volume)) {
                out.push_back(std::move(volume));
                at = disks.erase(at);
            } else {
                ++at;
            }
        }
        machine = disks.empty() ? registry.kept.erase(machine) : std::next(machine);
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
            collection.run();
        } catch (const Error& e) { // one tenant must not hide the others
            log::error("{}: {}", tenant.str(), e.what());
            result = code(ExitCode::kSomeFailed);
        }
        collection.report(out);
    }
    if (config.nomad && !options.dry && result == 0) {
        HeldRegistry(config, "sky-vm-run gc").sweep();
    }
    return result;
}

} // namespace sky::vm
