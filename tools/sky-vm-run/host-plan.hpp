// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>

#include <filesystem>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace sky::vm {

/// An account of a host, in a group of its own name.
struct HostAccount {
    std::string name;
    std::optional<uid_t> uid; ///< nothing: any
    bool tenant = false;      ///< sky-shell is its shell, and it is in the tenants' group
};

/// A file of a host that host-setup writes; its first line is kMadeHere, and only such a one is
/// replaced or removed.
struct HostFile {
    enum class Check { kNone, kSudo, kSshd, kSysctl };
    std::filesystem::path path;
    std::string text;
    mode_t mode = 0644;
    Check check = Check::kNone; ///< who has to like it, and counts by it at once
};

inline constexpr const char* kMadeHere = "# Made by sky-vm-run host-setup, removed by --undo.\n";

/// What makes a Debian server a host, as data. A plain value.
struct HostPlan {
    std::string group; ///< of tenants
    std::vector<HostAccount> accounts;
    std::vector<HostFile> files;
    std::vector<HostFile> units;      ///< where systemd is
    std::vector<std::string> enabled; ///< those of `units` that boot starts, in order
    std::vector<std::string> offered; ///< those that the operator may have boot start
};

/// What is found on a server that has no configuration yet.
struct HostFacts {
    std::string host;                                    ///< its name
    std::filesystem::path bin;                           ///< where our tools are
    std::filesystem::path data;                          ///< what was installed beside them
    std::optional<std::filesystem::path> virtiofsd;      ///< the first that there is
    std::map<std::string, std::filesystem::path> inputs; ///< of cells, by name
    std::string storage;                                 ///< 32 hex digits
};

/// The configuration of a new host, JSON for people to go on with.
[[nodiscard]] std::string first_config(const HostFacts& facts);

/// sudo's rules, doc/interfaces.md "sudo".
[[nodiscard]] std::string sudoers_text(const Config& config);
/// sshd's Match block for tenants.
[[nodiscard]] std::string sshd_text(const Config& config);
/// Where the link to the directory of tenants' keys stands while the host's rules are in place.
[[nodiscard]] std::filesystem::path keys_link(const Config& config);

/// All of it. Pure.
[[nodiscard]] HostPlan plan_host(const Config& config);

} // namespace sky::vm
