// SPDX-License-Identifier: MIT
#include <sky-vm-run/host-start.hpp>

#include <sky-vm-run/accounts.hpp>
#include <sky-vm-run/ceph.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/json.hpp>
#include <sky/log.hpp>
#include <sky/privilege.hpp>
#include <sky/state.hpp>

#include <cerrno>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <pwd.h>
#include <random>
#include <sys/stat.h>
#include <unistd.h>

namespace sky::vm {
namespace {

gid_t group_of(uid_t uid) {
    std::vector<char> buffer(16384);
    passwd entry{};
    passwd* found = nullptr;
    const int error = ::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found);
    if (error != 0 || found == nullptr) {
        fail(ExitCode::kConfig, "no account with uid {} on this host (make the tenant's account)",
             uid);
    }
    return entry.pw_gid;
}

Owners owners_of(const Config& config, bool dry_run) {
    const Account cache = account(config.accounts.cache);
    const Account deploy = account(config.accounts.deploy);
    Owners owners{cache.uid, cache.gid, deploy.uid, deploy.gid, {}};
    for (const auto& [name, tenant] : config.tenants) {
        // One that would be made only now will have a group of the same number.
        const bool later = dry_run && tenant.added && !uid_of_account(name.str());
        owners.tenant_gids.emplace(name, later ? tenant.uid : group_of(tenant.uid));
    }
    return owners;
}

void make_one(int state, const Directory& directory) {
    const auto parent = directory.path.parent_path();
    const Fd in = open_beneath(state, parent.empty() ? "." : parent, O_PATH | O_DIRECTORY);
    const auto name = directory.path.filename();
    if (::mkdirat(in.get(), name.c_str(), 0700) != 0 && errno != EEXIST) {
        fail_errno("cannot make directory '{}'", directory.path.string());
    }
    const Fd made = open_beneath(in.get(), name, O_RDONLY | O_DIRECTORY);
    struct stat info {};
    if (::fstat(made.get(), &info) != 0) {
        fail_errno("cannot stat '{}'", directory.path.string());
    }
    const bool owned = info.st_uid == directory.uid && info.st_gid == directory.gid;
    if (!owned && ::fchown(made.get(), directory.uid, directory.gid) != 0) {
        fail_errno("cannot set the owner of '{}'", directory.path.string());
    }
    // After chown, which clears the setgid bit.
    if ((!owned || (info.st_mode & 07777U) != directory.mode) &&
        ::fchmod(made.get(), directory.mode) != 0) {
        fail_errno("cannot set the mode of '{}'", directory.path.string());
    }
}

} // namespace

std::vector<Directory> plan_directories(const Config& config, const Owners& o) {
    constexpr bool kShared = true;
    std::vector<Directory> out{
        {"tenants", 0, 0, 0711},
        {"tenants", 0, 0, 0711, kShared},
        {"cache", o.cache_uid, o.cache_gid, 0700, kShared},
        {"keys", o.cache_uid, o.cache_gid, 0700, kShared},
        {"deployments", o.cache_uid, o.deploy_gid, 02750, kShared},
        {"gcroots", o.cache_uid, o.deploy_gid, 02750, kShared},
        {"authorized_keys", 0, 0, 0755, kShared},
        {"records", o.deploy_uid, o.deploy_gid, 0750, kShared},
        {"states", 0, o.deploy_gid, 02750, kShared},
        {"volumes", 0, 0, 0711, kShared},
        {"store", 0, 0, 0711},
        {"vm", 0, 0, 0711},
        {"volumes", 0, 0, 0711},
        {"net", 0, 0, 0755},
    };
    for (const auto& [name, tenant] : config.tenants) {
        const std::filesystem::path base = std::filesystem::path("tenants") / name.str();
        const gid_t gid = o.tenant_gids.at(name);
        out.push_back({base, 0, 0, 0711});
        out.push_back({base, 0, 0, 0711, kShared});
        for (const char* own : {"repos", "builds", "locks"}) {
            out.push_back({base / own, tenant.uid, gid, 0700, kShared});
        }
        out.push_back({base / "cell", tenant.uid, gid, 0700});
        out.push_back({base / "outbox", tenant.uid, o.cache_gid, 02750});
        out.push_back(
            {std::filesystem::path("cache") / name.str(), o.cache_uid, o.cache_gid, 0700, kShared});
        out.push_back({std::filesystem::path("store") / name.str(), 0, 0, 0755});
    }
    return out;
}

void make_directories_of(const std::filesystem::path& root,
                         const std::vector<Directory>& directories, bool shared) {
    const Fd in = open_file(root, O_PATH | O_DIRECTORY);
    for (const auto& directory : directories) {
        if (directory.shared == shared) {
            make_one(in.get(), directory);
        }
    }
}

namespace {

constexpr const char* kUnits = "/run/systemd/system";

std::filesystem::path slice_file(const Config& config, uid_t uid) {
    return fmt::format("{}/user-{}.slice.d/50-{}.conf", kUnits, uid, config.prefix);
}

/// The limits of what a tenant's sessions start, builds too; and no service manager of the
/// tenant's. They go with the boot, so that nothing of a tenant who went is left.
void limit_sessions(const Config& config, Steps& steps) {
    bool changed = false;
    for (const auto& [name, tenant] : config.tenants) {
        const std::string text =
            fmt::format("[Slice]\nMemoryMax={}M\nMemorySwapMax=0\nTasksMax={}\nCPUWeight=20\n"
                        "IOWeight=20\n",
                        config.cell.mem_mib, config.cell.pids);
        const auto file = slice_file(config, tenant.uid);
        if (read_file_if_exists(file, 4096) == text) {
            continue;
        }
        changed = true;
        steps.step(fmt::format("limit sessions of {}", name.str()), [&, uid = tenant.uid] {
            make_directories(file.parent_path(), 0755);
            atomic_write(file, text, {.mode = 0644, .durable = false});
            const auto manager = fmt::format("{}/user@{}.service", kUnits, uid);
            if (::symlink("/dev/null", manager.c_str()) != 0 && errno != EEXIST) {
                fail_errno("cannot make '{}'", manager);
            }
        });
    }
    if (changed) {
        steps.step("have systemd read its units",
                   [] { run_program("systemctl", {"daemon-reload"}); });
    }
}

/// Removes what limit_sessions made for that uid; systemd is to read its units anew then.
void remove_limits(const Config& config, uid_t uid) {
    const auto file = slice_file(config, uid);
    ::unlink(file.c_str());
    ::rmdir(file.parent_path().c_str());
    ::unlink(fmt::format("{}/user@{}.service", kUnits, uid).c_str());
}

/// Tenants that were added without a new configuration have their accounts from here.
std::vector<HostAccount> added_accounts(const Config& config) {
    std::vector<HostAccount> accounts;
    for (const auto& [name, tenant] : config.tenants) {
        if (tenant.added) {
            accounts.push_back({name.str(), tenant.uid, true});
        }
    }
    return accounts;
}

/// An added tenant who can not have the account here stays away from this host; nobody else does.
void leave_out(Config& config) {
    for (const auto& account : added_accounts(config)) {
        if (const auto why = clash_of(account)) {
            log::error("tenant '{}' is not on this host: {}", account.name, *why);
            config.tenants.erase(Tenant::parse(account.name));
        }
    }
}

void forget_tenant(const Config& config, const Tenant& name, Steps& steps) {
    if (config.tenants.contains(name)) {
        fail(ExitCode::kRefused, "'{}' is a tenant (sky-shell tenant rm {} first)", name.str(),
             name.str());
    }
    const auto uid = uid_of_account(name.str());
    if (!uid || *uid < config.tenant_uid_first ||
        *uid - config.tenant_uid_first >= config.tenant_uid_count) {
        return;
    }
    remove_accounts("", {{name.str(), *uid, true}}, steps);
    const auto file = slice_file(config, *uid);
    if (std::filesystem::exists(file)) {
        steps.step(fmt::format("end the limits of {}", name.str()), [&] {
            remove_limits(config, *uid);
            run_program("systemctl", {"daemon-reload"});
        });
    }
}

} // namespace

void end_limits(const Config& config, Steps& steps) {
    std::vector<uid_t> limited;
    for (const auto& [name, tenant] : config.tenants) {
        if (std::filesystem::exists(slice_file(config, tenant.uid))) {
            limited.push_back(tenant.uid);
        }
    }
    if (!limited.empty()) {
        steps.step("end the limits of tenants' sessions", [&] {
            for (const auto uid : limited) {
                remove_limits(config, uid);
            }
            run_program("systemctl", {"daemon-reload"});
        });
    }
    const auto slice = config.prefix + ".slice";
    if (std::filesystem::exists("/sys/fs/cgroup/" + slice)) {
        steps.step(fmt::format("stop {}", slice), [&] {
            run_program("systemctl", {"stop", slice});
        });
    }
}

void host_start(const Config& given, const HostStartOptions& options) {
    check_storage(given);
    Config config = given;
    Steps steps(options.dry_run);
    if (options.forget) {
        forget_tenant(config, Tenant::parse(*options.forget), steps);
        return;
    }
    leave_out(config);
    if (const auto added = added_accounts(config); !added.empty()) {
        make_accounts(config, config.accounts.tenants, added, steps);
    }
    if (with_systemd()) {
        limit_sessions(config, steps);
    }
    const auto plan = plan_directories(config, owners_of(config, options.dry_run));
    if (!options.dry_run) {
        make_directories(config.state, 0755);
        make_directories_of(config.shared, plan, true);
        make_directories_of(config.state, plan, false);
        return;
    }
    for (const auto& d : plan) {
        write_all(STDOUT_FILENO,
                  fmt::format("{:04o} {}:{} {}\n", d.mode, d.uid, d.gid,
                              ((d.shared ? config.shared : config.state) / d.path).string()));
    }
}

std::string new_storage_id() {
    std::random_device random;
    return fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

namespace {

/// Each pool of a fenced class gets the marker, unless it has it.
void mark_pools(const Config& config, const std::string& id, bool dry_run) {
    for (const auto& [name, of] : config.volumes.classes) {
        if (of.driver != VolumeClass::Driver::kCeph) {
            continue;
        }
        const CephPool pool(config, of);
        const auto there = pool.marker();
        if (there && *there != id) {
            fail(ExitCode::kRefused, "pool '{}' carries another storage's marker", of.pool);
        }
        if (!there && dry_run) {
            write_all(STDOUT_FILENO, fmt::format("would mark pool '{}'\n", of.pool));
        } else if (!there) {
            pool.set_marker(id);
        }
    }
}

} // namespace

void storage_init(const Config& config, bool dry_run) {
    const auto marker = State(config).marker();
    if (const auto there = read_file_if_exists(marker, 4096)) {
        const Json value = parse_json(*there, 4096, "storage.json");
        Fields f(value, "");
        static_cast<void>(f.integer("v", 1, 1));
        mark_pools(config, f.string("storage"), dry_run);
        write_all(STDOUT_FILENO, *there);
        return;
    }
    const bool chosen = config.storage.find_first_not_of('0') != std::string::npos;
    if (dry_run) {
        write_all(STDOUT_FILENO, fmt::format("would make {}, with {}\n", marker.string(),
                                             chosen ? "the configuration's id" : "a new id"));
        return;
    }
    const std::string id = chosen ? config.storage : new_storage_id();
    const std::string text = dump_json({{"v", 1}, {"storage", id}}) + "\n";
    mark_pools(config, id, false);
    make_directories(config.shared, 0755);
    atomic_write(marker, text, {.mode = 0644});
    write_all(STDOUT_FILENO, text);
}

} // namespace sky::vm
