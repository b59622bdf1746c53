// SPDX-License-Identifier: MIT
#include <sky-shell/tenant-end.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/json.hpp>
#include <sky/log.hpp>
#include <sky/process.hpp>
#include <sky/registry.hpp>
#include <sky/scratch.hpp>
#include <sky/state.hpp>

#include <cerrno>
#include <csignal>
#include <dirent.h>
#include <nlohmann/json.hpp>
#include <set>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace sky::shell {
namespace {

using Path = std::filesystem::path;

/// The names in a directory of ours; none if it is not there. One that can not be read is not
/// taken for empty.
std::set<std::string> names_in(const Path& directory) {
    std::set<std::string> names;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
        names.insert(entry.path().filename().string());
    }
    if (error && error.value() != ENOENT && error.value() != ENOTDIR) {
        throw SysError(error.value(), fmt::format("cannot list '{}'", directory.string()));
    }
    return names;
}

/// Processes of this uid: a push under way, a cell.
std::vector<pid_t> processes(uid_t uid) {
    std::vector<pid_t> pids;
    for (const auto& name : names_in("/proc")) {
        struct stat info {};
        if (name.find_first_not_of("0123456789") == std::string::npos &&
            ::stat(("/proc/" + name).c_str(), &info) == 0 && info.st_uid == uid) {
            pids.push_back(std::stoi(name));
        }
    }
    return pids;
}

void end_processes(uid_t uid) {
    for (int round = 0; round < 100; ++round) {
        const auto pids = processes(uid);
        if (pids.empty()) {
            return;
        }
        for (const pid_t pid : pids) {
            ::kill(pid, SIGKILL);
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(50)); // bound: 5 s
    }
    fail(ExitCode::kBusy, "processes of uid {} do not end (see ps -u {})", uid, uid);
}

void end_machines(const Config& config, const Tenant& tenant, const Left& left) {
    std::string lines;
    for (const auto& machine : left.machines) {
        lines += dump_json({{"v", 1},
                            {"tenant", tenant.str()},
                            {"repo", machine.repo.str()},
                            {"machine", machine.machine.str()},
                            {"rev", nullptr}}) +
                 "\n";
    }
    const auto done = Command(config.tool("sky-nomad-submit"))
                          .args({"--config", config.file.string(), "submit"})
                          .capture(lines, 16U << 20U, std::chrono::minutes(30));
    if (done.exit_code != 0) {
        fail(ExitCode::kBusy, "machines of '{}' do not end, see above (say it again later)",
             tenant.str());
    }
}

} // namespace

std::string Left::text() const {
    const auto many = [](std::size_t n, const char* what) {
        return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s");
    };
    return many(machines.size(), "machine") + ", " + many(volumes.size(), "volume");
}

std::set<std::string> volumes_of(const Registry& registry, const Tenant& tenant) {
    std::set<std::string> out;
    const auto take = [&](const std::string& joined, const auto& disks) {
        const auto path = MachinePath::parse_joined(joined);
        if (path.tenant == tenant) {
            for (const auto& [name, disk] : disks) {
                out.insert(fmt::format("{}/{}/{}", path.repo.str(), path.machine.str(), name));
            }
        }
    };
    for (const auto& [joined, machine] : registry.machines) {
        take(joined, machine.volumes);
    }
    for (const auto& [joined, disks] : registry.kept) {
        take(joined, disks);
    }
    return out;
}

Left what_is_left(const Config& config, const Tenant& tenant) {
    Left left;
    left.volumes = volumes_of(load_registry(config), tenant);
    const Path records = config.shared / "records" / tenant.str();
    for (const auto& repo : names_in(records)) {
        for (const auto& file : names_in(records / repo)) {
            if (Path(file).extension() == ".json" && Repo::valid(repo) &&
                Machine::valid(Path(file).stem().string())) {
                left.machines.push_back(
                    {tenant, Repo::parse(repo), Machine::parse(Path(file).stem().string())});
            }
        }
    }
    for (const Path& root : std::set<Path>{config.state, config.shared}) {
        const Path volumes = root / "volumes" / tenant.str();
        for (const auto& repo : names_in(volumes)) {
            for (const auto& machine : names_in(volumes / repo)) {
                for (const auto& file : names_in(volumes / repo / machine)) {
                    left.volumes.insert(
                        fmt::format("{}/{}/{}", repo, machine, Path(file).stem().string()));
                }
            }
        }
    }
    return left;
}

void end_tenant(const Config& config, const Tenant& tenant) {
    end_processes(config.tenant(tenant).uid);
    if (const auto left = what_is_left(config, tenant); !left.empty()) {
        if (!left.machines.empty()) {
            end_machines(config, tenant, left);
        }
        const int swept = Command(config.tool("sky-vm-run"))
                              .args({"--config", config.file.string(), "gc", "--tenant",
                                     tenant.str(), "--grace", "0", "--keep", "0"})
                              .out(STDERR_FILENO)
                              .run();
        const auto still = what_is_left(config, tenant);
        if (swept != 0 || !still.empty()) {
            fail(ExitCode::kBusy,
                 "'{}' still has {} (files on another host go there: sky-vm-run gc --tenant {} "
                 "--grace 0 --keep 0; then say it again)",
                 tenant.str(), still.text(), tenant.str());
        }
    }
    end_processes(config.tenant(tenant).uid);
    for (const Path& root : std::set<Path>{config.state, config.shared}) {
        for (const char* kind : {"tenants", "cache", "deployments", "gcroots", "records", "states",
                                 "store", "volumes"}) {
            remove_tree_whole(root / kind / tenant.str());
        }
    }
    for (const char* ending : {".key", ".pub"}) {
        ::unlink((State(config).keys() / (tenant.str() + ending)).c_str());
    }
}

} // namespace sky::shell
