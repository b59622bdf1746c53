// SPDX-License-Identifier: MIT
#include <sky-vm-run/cgroup.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/log.hpp>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace sky::vm {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMib = 1U << 20U;
constexpr std::uint64_t kPeriodUs = 100000;
constexpr const char* kSwapMax = "memory.swap.max"; ///< missing in a kernel without swap

void make_directory(const fs::path& path) {
    if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) {
        fail_errno("cannot make cgroup '{}'", path.string());
    }
}

void write_file(const fs::path& path, std::string_view text) {
    const Fd fd = open_file(path, O_WRONLY);
    write_all(fd.get(), text);
}

/// Moves this process, which has one thread. Of version 1 by its thread: without the kernel's lock
/// that all forks of the host wait for.
void join(const fs::path& directory) {
    const auto tasks = directory / "tasks";
    write_file(fs::exists(tasks) ? tasks : directory / "cgroup.procs", "0");
}

/// Where PREFIX's cgroups are: one directory, or with version 1 one per controller.
std::vector<fs::path> bases(const CgroupHost& host, const std::string& prefix) {
    if (host.v2) {
        return {host.base};
    }
    std::vector<fs::path> out;
    for (const auto& controller : host.controllers) {
        out.push_back(host.root / controller / prefix);
    }
    return out;
}

std::vector<std::pair<std::string, std::string>> limits_of(bool v2, const std::string& controller,
                                                           const CgroupLimits& limits) {
    const auto memory = std::to_string(limits.mem_mib * kMib);
    const auto quota = std::to_string((limits.vcpu + std::uint64_t{1}) * kPeriodUs);
    if (controller == "memory" && v2) { // a machine is whole or not there
        return {{"memory.max", memory}, {kSwapMax, "0"}, {"memory.oom.group", "1"}};
    }
    if (controller == "memory") {
        return {{"memory.limit_in_bytes", memory}};
    }
    if (controller == "pids") {
        return {{"pids.max", std::to_string(limits.pids)}};
    }
    if (v2) {
        return {{"cpu.max", quota + " " + std::to_string(kPeriodUs)}};
    }
    return {{"cpu.cfs_period_us", std::to_string(kPeriodUs)}, {"cpu.cfs_quota_us", quota}};
}

} // namespace

fs::path unit_cgroup(std::string_view cgroup_file, const std::string& prefix) {
    const auto at = cgroup_file.rfind("0::/", 0) == 0 ? 0 : cgroup_file.find("\n0::/") + 1;
    if (cgroup_file.substr(at, 4) != "0::/") {
        return {};
    }
    const auto line = cgroup_file.substr(at + 4, cgroup_file.find('\n', at) - at - 4);
    const std::string begin = prefix + "-vm-";
    const std::string_view end = ".service";
    fs::path path;
    for (const auto& part : fs::path(line)) {
        path /= part;
        const auto& name = part.native();
        if (name.size() > end.size() && name.rfind(begin, 0) == 0 &&
            name.compare(name.size() - end.size(), end.size(), end) == 0) {
            return path;
        }
    }
    return {};
}

CgroupHost cgroup_host(const std::string& prefix) {
    CgroupHost host;
    host.v2 = fs::exists(host.root / "cgroup.controllers");
    std::string there;
    if (host.v2) {
        const auto unit = unit_cgroup(read_file("/proc/self/cgroup", 65536), prefix);
        host.delegated = !unit.empty();
        host.base = host.root / (host.delegated ? unit : fs::path(prefix));
        const auto& top = host.delegated ? host.base : host.root;
        there = " " + read_file(top / "cgroup.controllers", 4096);
        std::replace(there.begin(), there.end(), '\n', ' ');
    }
    for (const char* controller : {"memory", "pids", "cpu"}) {
        const bool found = host.v2
                               ? there.find(fmt::format(" {} ", controller)) != std::string::npos
                               : fs::exists(host.root / controller / "cgroup.procs");
        if (found) {
            host.controllers.emplace_back(controller);
        }
    }
    return host;
}

CgroupLimits limits_for(std::uint64_t guest_mib, std::uint32_t vcpu) {
    return {guest_mib + 512 + 1024, vcpu, 512 + 64 * vcpu};
}

std::vector<Cgroup> plan_cgroups(const CgroupHost& host, const std::string& prefix,
                                 const std::string& name, const CgroupLimits& limits) {
    std::vector<Cgroup> out;
    if (host.v2) {
        Cgroup group{host.base / name, {}};
        for (const auto& controller : host.controllers) {
            const auto more = limits_of(true, controller, limits);
            group.limits.insert(group.limits.end(), more.begin(), more.end());
        }
        out.push_back(std::move(group));
        return out;
    }
    for (const auto& controller : host.controllers) {
        out.push_back(
            {host.root / controller / prefix / name, limits_of(false, controller, limits)});
    }
    return out;
}

void make_cgroups(const CgroupHost& host, const std::vector<Cgroup>& groups) {
    if (host.v2) {
        // Controllers come from the top down, one level at a time.
        make_directory(host.base);
        for (const auto& directory : {host.root, host.base}) {
            for (const auto& controller : host.controllers) {
                if (!host.delegated || directory == host.base) {
                    write_file(directory / "cgroup.subtree_control", "+" + controller);
                }
            }
        }
    }
    for (const auto& group : groups) {
        make_directory(group.directory.parent_path());
        make_directory(group.directory);
        for (const auto& [file, text] : group.limits) {
            if (file != kSwapMax || fs::exists(group.directory / file)) {
                write_file(group.directory / file, text);
            }
        }
    }
}

void join_cgroups(const std::vector<Cgroup>& groups) {
    for (const auto& group : groups) {
        join(group.directory);
    }
}

void leave_callers_cgroups(const CgroupHost& host, const std::string& prefix) {
    for (const auto& base : bases(host, prefix)) {
        const auto directory = base / "supervisor";
        make_directory(base);
        make_directory(directory);
        join(directory);
    }
}

void remove_cgroups(const std::vector<Cgroup>& groups) {
    for (const auto& group : groups) {
        // The kernel takes a moment to let go of a dead process.
        for (int tries = 0; ::rmdir(group.directory.c_str()) != 0 && errno == EBUSY; ++tries) {
            if (tries == 100) {
                log::warn("cannot remove cgroup '{}': busy", group.directory.string());
                break;
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
    }
}

} // namespace sky::vm
