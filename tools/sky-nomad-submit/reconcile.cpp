// SPDX-License-Identifier: MIT
#include "sky-nomad-submit/reconcile.hpp"

#include "sky-nomad-submit/orders.hpp"
#include "sky-nomad-submit/plan.hpp"
#include "sky-nomad-submit/usage.hpp"

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/log.hpp>
#include <sky/process.hpp>
#include <sky/state.hpp>

#include <chrono>
#include <fcntl.h>
#include <grp.h>
#include <nlohmann/json.hpp>
#include <pwd.h>
#include <unistd.h>
#include <vector>

namespace sky::submit {
namespace {

constexpr std::chrono::minutes kEnsureMost{30};

/// Becomes the tenant as login would, groups too: sudo's rule names the tenants' group.
void become(const Tenant& tenant, uid_t uid) {
    std::vector<char> buffer(16384);
    passwd entry{};
    passwd* found = nullptr;
    if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr) {
        fail(ExitCode::kConfig, "tenant '{}' has no account (uid {})", tenant.str(), uid);
    }
    if (::initgroups(entry.pw_name, entry.pw_gid) != 0 ||
        ::setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid) != 0 ||
        ::setresuid(uid, uid, uid) != 0) {
        fail_errno("cannot become '{}'", tenant.str());
    }
}

int ensure_as(const Config& config, const Tenant& tenant, uid_t uid, bool dry_run) {
    const pid_t pid = ::fork(); // no thread has been started yet
    if (pid < 0) {
        fail_errno("cannot fork");
    }
    if (pid == 0) {
        try {
            become(tenant, uid);
            const Fd null = open_file("/dev/null", O_RDWR);
            Command shell(config.tool("sky-shell"));
            shell.args({"--config", config.file.string(), "ensure"});
            if (dry_run) {
                shell.arg("--dry-run");
            }
            shell.cwd("/").in(null.get()).out(null.get()).exec();
        } catch (const Error& e) {
            log::error("{}", e.what());
            ::_exit(code(e.code()));
        } catch (...) {
            ::_exit(code(ExitCode::kBug));
        }
    }
    Child child(pid, false);
    const auto result = child.wait_for(kEnsureMost);
    if (!result) {
        fail(ExitCode::kBusy, "ensure of '{}' takes too long", tenant.str());
    }
    return *result;
}

Records::All all_records(const Config& config) {
    Records::All all;
    for (const auto& [tenant, entry] : config.tenants) {
        all.merge(Records(config.shared).of_tenant(tenant));
    }
    return all;
}

int repair(const Config& config, bool dry_run) {
    const auto scheduler = make_scheduler(config);
    const auto plan = plan_repairs(all_records(config), scheduler->overview());
    Caller root;
    root.root = true;
    const Desk desk{.config = config, .scheduler = *scheduler, .caller = root};
    Orders orders(desk);
    for (const Repair& step : plan) {
        const bool resume = step.kind != Repair::Kind::kStop;
        log::say(fmt::format("-----> {} {}",
                             step.kind == Repair::Kind::kUpdate ? "update"
                             : resume                           ? "start"
                                                                : "stop",
                             step.path.text()));
        if (dry_run) {
            continue;
        }
        orders.add({.kind = resume ? Order::Kind::kResume : Order::Kind::kSettle,
                    .path = step.path,
                    .rev = std::nullopt,
                    .to = std::nullopt,
                    .session = std::nullopt},
                   {{"v", 1},
                    {"tenant", step.path.tenant.str()},
                    {"repo", step.path.repo.str()},
                    {"machine", step.path.machine.str()}});
    }
    return orders.run(
        -1, [](const std::string&) {}, false);
}

} // namespace

int reconcile(const Config& config, bool dry_run) {
    if (::geteuid() != 0) {
        fail(ExitCode::kRefused, "reconcile is for root");
    }
    check_storage(config);
    bool failed = false;
    for (const auto& [tenant, entry] : config.tenants) {
        try {
            failed = ensure_as(config, tenant, entry.uid, dry_run) != 0 || failed;
        } catch (const Error& e) { // one tenant must not hide the others
            log::error("{}: {}", tenant.str(), e.what());
            failed = true;
        }
    }
    static_cast<void>(cross(config, config.accounts.deploy, "sky-nomad-submit", "reconcile"));
    const int result = repair(config, dry_run);
    if (!dry_run) {
        failed = !settle_accounts(config) || failed;
    }
    return result != 0 ? result : code(failed ? ExitCode::kSomeFailed : ExitCode::kOk);
}

} // namespace sky::submit
