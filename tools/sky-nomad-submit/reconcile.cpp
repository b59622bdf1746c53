// SPDX-License-Identifier: MIT
#include <sky-nomad-submit/reconcile.hpp>

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
#include <deque>
#include <fcntl.h>
#include <functional>
#include <future>
#include <grp.h>
#include <nlohmann/json.hpp>
#include <pwd.h>
#include <unistd.h>
#include <vector>

namespace sky::submit {
namespace {

constexpr std::chrono::minutes kEnsureMost{30};
constexpr std::size_t kAtOnce = 8; ///< tenants

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

/// A process of its own that does `work`, whose result is its exit code.
template <typename F>
Child aside(const F& work) {
    const pid_t pid = ::fork(); // no thread has been started yet
    if (pid < 0) {
        fail_errno("cannot fork");
    }
    if (pid == 0) {
        try {
            ::_exit(work());
        } catch (const Error& e) {
            log::error("{}", e.what());
            ::_exit(code(e.code()));
        } catch (...) {
            ::_exit(code(ExitCode::kBug));
        }
    }
    return Child(pid, false);
}

Child ensure_as(const Config& config, const Tenant& tenant, uid_t uid, bool dry_run) {
    return aside([&]() -> int {
        become(tenant, uid);
        const Fd null = open_file("/dev/null", O_RDWR);
        Command shell(config.tool("sky-shell"));
        shell.args({"--config", config.file.string(), "ensure"});
        if (dry_run) {
            shell.arg("--dry-run");
        }
        shell.cwd("/").in(null.get()).out(null.get()).exec();
    });
}

/// All tenants, some at a time. False: some did not end well.
bool ensure_all(const Config& config, bool dry_run) {
    bool good = true;
    std::deque<std::pair<Tenant, Child>> under_way;
    const auto wait_for_oldest = [&] {
        auto& [tenant, child] = under_way.front();
        const auto result = child.wait_for(kEnsureMost);
        if (!result) {
            log::error("{}: ensure takes too long", tenant.str());
        }
        good = result == 0 && good;
        under_way.pop_front();
    };
    for (const auto& [tenant, entry] : config.tenants) {
        if (under_way.size() == kAtOnce) {
            wait_for_oldest();
        }
        try {
            under_way.emplace_back(tenant, ensure_as(config, tenant, entry.uid, dry_run));
        } catch (const Error& e) { // one tenant must not hide the others
            log::error("{}: {}", tenant.str(), e.what());
            good = false;
        }
    }
    while (!under_way.empty()) {
        wait_for_oldest();
    }
    return good;
}

Records::All all_records(const Config& config) {
    Records::All all;
    for (const auto& [tenant, entry] : config.tenants) {
        all.merge(Records(config.shared).of_tenant(tenant));
    }
    return all;
}

std::vector<Repair> plan_now(const Config& config, Scheduler& scheduler) {
    auto seen = std::async(std::launch::async, [&] { return scheduler.overview(); });
    const auto records = all_records(config);
    return plan_repairs(records, seen.get());
}

/// Looks while the tenants' own is under way. Where all is well by then nothing is left to do;
/// where not, what they did is waited for, and looked at.
int repair(const Config& config, bool dry_run, const std::function<void()>& wait) {
    const auto scheduler = make_scheduler(config);
    std::vector<Repair> plan;
    try {
        plan = plan_now(config, *scheduler);
    } catch (const Error&) {
        wait();
        throw;
    }
    wait();
    if (!plan.empty()) {
        plan = plan_now(config, *scheduler);
    }
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
    Child ensured = aside([&] { return ensure_all(config, dry_run) ? 0 : 1; });
    static_cast<void>(cross(config, config.accounts.deploy, "sky-nomad-submit", "reconcile"));
    bool failed = false;
    const int result = repair(config, dry_run, [&] { failed = ensured.wait() != 0; });
    if (!dry_run) {
        failed = !settle_accounts(config) || failed;
    }
    return result != 0 ? result : code(failed ? ExitCode::kSomeFailed : ExitCode::kOk);
}

} // namespace sky::submit
