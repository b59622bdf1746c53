// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>
#include <sky/name.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
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
    bool v2 = false;
    std::vector<std::string> controllers; ///< of memory, pids, cpu, those that are there
};
[[nodiscard]] CgroupHost cgroup_host();

struct CgroupLimits {
    std::uint64_t mem_mib = 0; ///< all of it: guest and overhead
    std::uint32_t vcpu = 1;
    std::uint32_t pids = 1024;
};
/// Memory of a guest plus what a hypervisor and virtiofsd need beside it; QEMU without KVM keeps up
/// to 1 GiB of translated code.
[[nodiscard]] CgroupLimits limits_for(std::uint64_t guest_mib, std::uint32_t vcpu);

/// The cgroups ROOT[/CONTROLLER]/PREFIX/NAME of a machine. Pure.
[[nodiscard]] std::vector<Cgroup> plan_cgroups(const CgroupHost& host, const std::string& prefix,
                                               const std::string& name, const CgroupLimits& limits);

/// Makes them and sets the limits. A host without any cgroup hierarchy gets none. Throws SysError.
void make_cgroups(const CgroupHost& host, const std::string& prefix,
                  const std::vector<Cgroup>& groups);
/// Moves this process into them; children follow.
void join_cgroups(const std::vector<Cgroup>& groups);
/// Moves this process to PREFIX/supervisor, out of whatever its caller was limited by.
void leave_callers_cgroups(const CgroupHost& host, const std::string& prefix);
/// Removes them; nothing may live in them. What is not there is no error.
void remove_cgroups(const std::vector<Cgroup>& groups);

} // namespace sky::vm
