// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>

#include <filesystem>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace sky::vm {

class Steps;

/// Who owns what below the state directory: the accounts by number.
struct Owners {
    uid_t cache_uid = 0;
    gid_t cache_gid = 0;
    uid_t deploy_uid = 0;
    gid_t deploy_gid = 0;
    std::map<Tenant, gid_t> tenant_gids;
};

/// A directory that a host has, relative to `state` or `shared` of the configuration; parents stand
/// before children.
struct Directory {
    std::filesystem::path path;
    uid_t uid = 0;
    gid_t gid = 0;
    mode_t mode = 0755;
    bool shared = false; ///< below `shared`
    bool operator==(const Directory&) const = default;
};

/// The directories of doc/interfaces.md "State", for every tenant of the configuration. Pure.
[[nodiscard]] std::vector<Directory> plan_directories(const Config& config, const Owners& owners);

/// Makes each of `directories` that is `shared`, or is not, below `root`, or sets owner and mode of
/// the one that is there. Links are never followed. Throws SysError.
void make_directories_of(const std::filesystem::path& root,
                         const std::vector<Directory>& directories, bool shared);

struct HostStartOptions {
    bool dry_run = false;
    std::optional<std::string> forget = std::nullopt; ///< a tenant who was removed
};

/// Verb `host-start`: what a host does at boot and after its tenants changed, as often as it is
/// called: accounts of tenants that were added without a new configuration, limits of tenants'
/// sessions where systemd is, what plan_directories says. With `dry_run` prints it, directories as
/// lines "MODE UID:GID PATH". With `forget` it removes the account and limits of an added tenant
/// who is one no more, and nothing else. Throws Error(kUnavailable) without the storage's marker.
void host_start(const Config& config, const HostStartOptions& options);

/// Where systemd is, and no machine runs: takes back the limits of tenants' sessions that
/// host_start made, and the slice that machines ran in. Throws as Steps and run_program do.
void end_limits(const Config& config, Steps& steps);

/// 32 random hex digits.
[[nodiscard]] std::string new_storage_id();

/// Verb `storage init`: makes the marker STATE/storage.json with a new id and prints it. A marker
/// that is there stays and is printed. Throws SysError.
void storage_init(const Config& config, bool dry_run);

} // namespace sky::vm
