// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sky::build {

/// One entry of the directory that becomes the cell's root, or of its etc/.
struct CellEntry {
    std::string name;
    std::optional<std::string> link; ///< the target, if it is a symbolic link
};

/// What all commands in one tenant's cell share. Paths are the host's.
struct CellPlan {
    std::filesystem::path bwrap;
    std::filesystem::path pasta;
    std::filesystem::path root;     ///< config's cell.root
    std::vector<CellEntry> entries; ///< what lies in it
    std::vector<CellEntry> etc;     ///< what lies in its etc/
    std::filesystem::path nix;      ///< becomes /nix, writable
    std::filesystem::path home;     ///< becomes /home, writable
    std::filesystem::path tmp;      ///< becomes /tmp, writable
    std::filesystem::path own_etc;  ///< our passwd, group, hosts, resolv.conf, registry.json
    std::filesystem::path shell;    ///< config's cell.shell, a path in the cell
    std::string nix_config;         ///< the text of NIX_CONFIG
    bool outside = false;           ///< the host has a default route: pasta can serve a network
    bool forward_dns = false;       ///< the host's resolvers are on its loopback
};

/// One program in the cell.
struct CellCommand {
    std::vector<std::string> argv;
    bool network = false; ///< it may download; without, its network namespace is empty
    std::vector<std::pair<std::filesystem::path, std::string>> binds; ///< read-only: host, cell
};

/// Our files in the cell's /etc; entries of the same name in cell.root are left out.
inline constexpr const char* kOwnEtc[] = {"passwd", "group", "hosts", "resolv.conf",
                                          "registry.json"};
/// The address that pasta answers DNS on when the host's resolvers are out of the cell's reach.
inline constexpr const char* kForwardedDns = "169.254.1.1";

/// The whole command line: pasta, if the command wants a network and there is one, around bwrap
/// around the command.
[[nodiscard]] std::vector<std::string> cell_argv(const CellPlan& plan, const CellCommand& command);

/// True if the texts of /proc/net/route and /proc/net/ipv6_route hold a default route.
[[nodiscard]] bool has_default_route(std::string_view route4, std::string_view route6);

/// The cell's resolv.conf from the host's, and whether the host's resolvers are all on loopback.
struct Resolvers {
    std::string text;
    bool forward = false;
};
[[nodiscard]] Resolvers cell_resolvers(std::string_view host_resolv_conf);

/// Reads the entries of a directory, sorted. Throws SysError.
[[nodiscard]] std::vector<CellEntry> read_entries(const std::filesystem::path& directory);

/// Writes our files of /etc into `directory`, which exists.
void write_etc(const std::filesystem::path& directory, std::string_view resolv_conf,
               std::string_view registry);

} // namespace sky::build
