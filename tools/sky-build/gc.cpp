// SPDX-License-Identifier: MIT
#include <sky-build/gc.hpp>

#include <sky-build/inputs.hpp>
#include <sky-build/session.hpp>
#include <sky-build/tree.hpp>
#include <sky-build/unsynced.hpp>

#include <sky/error.hpp>
#include <sky/lines.hpp>
#include <sky/scratch.hpp>
#include <sky/state.hpp>

#include <algorithm>
#include <chrono>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <optional>
#include <sys/file.h>
#include <thread>
#include <unistd.h>

namespace sky::build {
namespace {

namespace fs = std::filesystem;

/// Builds wait for it, so it has an end; what it has not got to is left for the next.
constexpr std::chrono::minutes kMost{10};
constexpr std::chrono::seconds kPatience{10}; ///< for a build that is about to end

Fd take_cell(const fs::path& cell, const Tenant& tenant) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    for (;;) {
        if (Fd lock = hold_cell(cell, LOCK_EX | LOCK_NB)) {
            return lock;
        }
        if (std::chrono::steady_clock::now() >= end) {
            fail(ExitCode::kBusy, "{}: a build is on (try again later)", tenant.str());
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
}

/// The directory of machines' roots, whatever the cell has made of the way there: no link is
/// followed. Nothing when there is none.
Fd open_roots(const fs::path& cell) {
    const Fd top = open_file(cell, O_RDONLY | O_DIRECTORY);
    try {
        return open_beneath(top.get(), fs::path("nix/var/nix/gcroots") / kMachineRoots,
                            O_RDONLY | O_DIRECTORY);
    } catch (const SysError& e) {
        if (e.errno_value() != ENOENT) {
            throw;
        }
        return Fd();
    }
}

std::size_t drop_roots(const Config& config, const Tenant& tenant, const fs::path& cell,
                       bool dry_run) {
    const Fd roots = open_roots(cell);
    if (!roots) {
        return 0;
    }
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(fmt::format("/proc/self/fd/{}", roots.get()))) {
        names.push_back(entry.path().filename().string());
    }
    const auto stale = stale_roots(config, tenant, names);
    for (const auto& name : stale) {
        if (!dry_run && ::unlinkat(roots.get(), name.c_str(), 0) != 0) {
            fail_errno("cannot remove a root of the cell's store");
        }
    }
    return stale.size();
}

/// Runs the old command line of nix: the new one has no list of what is dead. Its lines that name a
/// store path.
std::size_t nix_gc(const Cell& cell, const char* what) {
    CellOptions options;
    options.limit = kMost;
    const CellResult result = cell.run({{"/run/nix-store", "--gc", what}, false, {}}, options);
    if (result.exit_code != 0) {
        fail(ExitCode::kSystem, "nix-store --gc: {}",
             result.late ? "it took too long" : failure_text(result.exit_code, result.err));
    }
    std::size_t count = 0;
    for (auto at = result.out.find("/nix/store/"); at != std::string::npos;
         at = result.out.find("\n/nix/store/", at)) {
        ++count;
        ++at;
    }
    return count;
}

bool has_branch(const Config& config, const Tenant& tenant, const Repo& repo,
                const Machine& machine) {
    const auto path = State(config).repo(tenant, repo);
    return fs::exists(path) && Repository(path).has_branch(machine.str());
}

} // namespace

std::vector<std::string> stale_roots(const Config& config, const Tenant& tenant,
                                     const std::vector<std::string>& names) {
    std::vector<std::string> stale;
    for (const auto& name : names) {
        const auto dot = name.find('.');
        const auto repo = name.substr(0, dot);
        const auto machine = dot == std::string::npos ? "" : name.substr(dot + 1);
        if (!Repo::valid(repo) || !Machine::valid(machine) ||
            !has_branch(config, tenant, Repo::parse(repo), Machine::parse(machine))) {
            stale.push_back(name);
        }
    }
    return stale;
}

void collect_garbage(const Config& config, const Tenant& tenant, const GcOptions& options) {
    const auto directory = State(config).cell(tenant);
    std::size_t roots = 0;
    std::size_t paths = 0;
    if (fs::exists(directory / "nix/store")) {
        // Nix syncs as little of what it forgets; and a store that a power cut spoilt is not asked
        // what it holds. The same order as in a session, which throws such a store away.
        const Unsynced unsynced(directory, boot_id());
        const Fd lock = take_cell(directory, tenant);
        const Scratch scratch(directory / "tmp");
        const Cancel never;
        const Cell cell(plan_cell(config, directory, scratch), config.cell.pids, never);
        roots = drop_roots(config, tenant, directory, options.dry_run);
        paths = nix_gc(cell, "--print-dead");
        if (!options.dry_run && paths > 0) {
            static_cast<void>(nix_gc(cell, "--quiet"));
        }
    }
    if (options.json) {
        write_line(STDOUT_FILENO, {{"v", 1},
                                   {"tenant", tenant.str()},
                                   {"removed_paths", paths},
                                   {"removed_roots", roots}});
    } else {
        write_all(STDOUT_FILENO,
                  fmt::format("{}: {} store paths and {} roots of the cell {}\n", tenant.str(),
                              paths, roots, options.dry_run ? "would go" : "went"));
    }
}

} // namespace sky::build
