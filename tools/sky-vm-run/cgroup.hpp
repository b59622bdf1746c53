// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>
#include <sky/name.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sky::vm {

/// A cgroup to make and the limits to write into it: file name and text.
struct Cgroup {
    std::filesystem::path directory;
    std::vector<std::pair<std::string, std::string>> limits;
};

/// How this host's cgroups are mounted: version 1 has a hierarchy per controller.
struct CgroupHost {
    std::filesystem::path root = "/sys/fs/cgroup";
    /// Version 2: where our cgroups are made, ROOT/PREFIX, or the cgroup of the supervisor's unit.
    std::filesystem::path base;
    bool v2 = false;
    bool delegated = false; ///< `base` is a unit's that systemd leaves to us, controllers and all
    std::vector<std::string> controllers; ///< of memory, pids, cpu, those that are there
};
/// As this process sees it, whose unit it may be.
[[nodiscard]] CgroupHost cgroup_host(const std::string& prefix);

/// Version 2: the unit PREFIX-vm-*.service in which a process with this /proc/PID/cgroup runs, as a
/// path below the hierarchy's root; empty if it does in none. Pure.
[[nodiscard]] std::filesystem::path unit_cgroup(std::string_view cgroup_file,
                                                const std::string& prefix);

struct CgroupLimits {
    std::uint64_t mem_mib = 0; ///< all of it: guest and overhead
    std::uint32_t vcpu = 1;
    std::uint32_t pids = 1024;
};
/// Memory of a guest plus what a hypervisor and virtiofsd need beside it; QEMU without KVM keeps up
/// to 1 GiB of translated code.
[[nodiscard]] CgroupLimits limits_for(std::uint64_t guest_mib, std::uint32_t vcpu);

/// The cgroups BASE/NAME or ROOT/CONTROLLER/PREFIX/NAME of a machine. Pure.
[[nodiscard]] std::vector<Cgroup> plan_cgroups(const CgroupHost& host, const std::string& prefix,
                                               const std::string& name, const CgroupLimits& limits);

/// Makes them and sets the limits. A host without any cgroup hierarchy gets none. Throws SysError.
void make_cgroups(const CgroupHost& host, const std::vector<Cgroup>& groups);
/// Moves this process into them; children follow.
void join_cgroups(const std::vector<Cgroup>& groups);
/// Moves this process to BASE/supervisor or PREFIX/supervisor, out of whatever its caller was
/// limited by. Beside it machines' cgroups can be made: version 2 has processes in leaves alone.
void leave_callers_cgroups(const CgroupHost& host, const std::string& prefix);
/// Removes them; nothing may live in them. What is not there is no error.
void remove_cgroups(const std::vector<Cgroup>& groups);

} // namespace sky::vm
