// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>
#include <sky/spec.hpp>
#include <sky/store-path.hpp>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <sys/types.h>
#include <vector>

namespace sky::vm {

/// One thing in a view, made in this order below its root.
struct Mount {
    enum class Kind {
        kTmpfs,    ///< an empty writable directory of `uid`, at most `size_mib`
        kBind,     ///< `source` as it is: a file, device or directory; a link is copied as a link
        kDevice,   ///< as kBind, for a device node, where the host has it
        kFile,     ///< an empty file
        kLink,     ///< a symbolic link to `source`
        kReadOnly, ///< everything mounted below `target` so far becomes read-only
        kProc,     ///< proc of the pid namespace that the mounting process is in
    };
    Kind kind = Kind::kBind;
    std::filesystem::path source{};
    std::filesystem::path target{}; ///< absolute, as seen inside
    uid_t uid = 0;
    std::uint32_t size_mib = 0;
    bool writable = false; ///< kBind only
    bool operator==(const Mount&) const = default;
};
using View = std::vector<Mount>;

/// Where the host keeps what a view shows.
struct ViewSources {
    std::filesystem::path store;                          ///< STATE/store/T
    std::map<std::string, std::filesystem::path> volumes; ///< by class: .../volumes/T/R/M
    std::filesystem::path socks;                          ///< vm/T.R.M/sock
};

/// The runner's: doc/interfaces.md "Inside a machine's sandbox". Pure.
[[nodiscard]] View plan_runner_view(const Spec& spec, const std::vector<StorePath>& closure,
                                    const ViewSources& sources, uid_t uid);

/// virtiofsd's: this machine's closure and what the program needs to run, all read-only. Pure.
/// The program itself is /sky/virtiofsd.
[[nodiscard]] View plan_share_view(const Config& config, const std::vector<StorePath>& closure,
                                   const ViewSources& sources);

/// Mounts a view on the directory `root`, in this process's own mount namespace (which must not be
/// the host's), and makes it this process's root; nothing else stays reachable. Throws SysError.
void enter_view(const View& view, const std::filesystem::path& root);

} // namespace sky::vm
