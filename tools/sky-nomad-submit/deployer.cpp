// SPDX-License-Identifier: MIT
#include "sky-nomad-submit/deployer-job.hpp"
#include "sky-nomad-submit/orders.hpp"

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/json.hpp>
#include <sky/lock.hpp>
#include <sky/state.hpp>

#include <algorithm>
#include <chrono>

namespace sky::submit {

using std::chrono::seconds;

namespace {

/// " for 30 days", as far as a person counts.
std::string for_time(std::int64_t keep_s) {
    constexpr std::int64_t kHour = 3600;
    constexpr std::int64_t kDay = 24 * kHour;
    return keep_s >= 2 * kDay    ? fmt::format(" for {} days", keep_s / kDay)
           : keep_s >= 2 * kHour ? fmt::format(" for {} hours", keep_s / kHour)
                                 : "";
}

} // namespace

Deployer::Deployer(const Config& config, Scheduler& scheduler, Say say)
    : config_(config), scheduler_(scheduler), say_(std::move(say)), records_(config.shared),
      accounts_(config.shared) {}

Verdict Deployer::carry_out(const Order& order) {
    if (order.dry_run) {
        Job job{order.path, order.session, records_.load(order.path).value_or(MachineRecord{})};
        return dry(job, order);
    }
    records_.prepare(order.path);
    // Longer than one start or stop of the same machine takes.
    const auto wait = seconds(config_.machine.ready_s + config_.machine.stop_s + 60);
    Lock lock = Lock::take(records_.machine_lock(order.path), "sky-nomad-submit", wait);
    Job job{order.path, order.session, records_.load(order.path).value_or(MachineRecord{})};
    switch (order.kind) {
    case Order::Kind::kDeploy:
        return deploy(job, order.rev.value());
    case Order::Kind::kResume:
        return resume(job);
    case Order::Kind::kRollback:
        return rollback(job, order);
    case Order::Kind::kStop:
        return stop(job, true);
    case Order::Kind::kSettle:
        return stop(job, false);
    case Order::Kind::kRestart:
        return restart(job);
    case Order::Kind::kForget: {
        auto verdict = forget(job);
        if (verdict.code == 0) { // nothing is left for it to guard
            lock.remove(records_.machine_lock(order.path));
        }
        return verdict;
    }
    }
    fail(ExitCode::kBug, "an order of no kind");
}

Verdict Deployer::deploy(Job& job, const Revision& rev) {
    job.record.rev = rev;
    job.record.want_running = true;
    job.record.pin.reset();
    if (auto verdict = already_up(job, rev)) {
        return std::move(*verdict);
    }
    save(job); // the intent first: whoever comes after us finishes it
    return bring_up(job, rev);
}

/// The new name for what runs: the same system, ready, with what it was granted before. Nothing
/// when it takes more than that.
std::optional<Verdict> Deployer::already_up(Job& job, const Revision& rev) {
    const auto& did = job.record.did;
    if (did.state != MachineRecord::State::kRunning || !did.spec) {
        return std::nullopt;
    }
    try {
        const Admitted what = admitted(job, rev);
        auto there = what.spec.hash() == did.spec ? scheduler_.ready(what.spec) : std::nullopt;
        if (!there) {
            return std::nullopt;
        }
        Verdict verdict =
            came_up(job, what, {.exit_code = 0, .last = std::move(there), .said = {}});
        verdict.text = kSameSystem;
        return verdict;
    } catch (const Error&) {
        return std::nullopt; // told by who goes on
    }
}

Verdict Deployer::resume(Job& job) {
    const auto target = job.record.target();
    if (!target) {
        return {.state = "stopped", .quiet = true}; // changed while we waited for the lock
    }
    return bring_up(job, *target);
}

/// The one that was named, or the last that ran and is not what runs.
Revision Deployer::rollback_target(const Job& job, const Order& order) {
    if (order.to) {
        return *order.to;
    }
    const auto& good = job.record.good;
    const auto other = std::find_if(good.begin(), good.end(),
                                    [&](const Revision& r) { return r != job.record.did.rev; });
    if (other == good.end()) {
        fail(ExitCode::kRefused, "'{}' has no earlier revision that ran (name one: --to REV)",
             job.path.text());
    }
    return *other;
}

Verdict Deployer::rollback(Job& job, const Order& order) {
    auto& record = job.record;
    const auto to = rollback_target(job, order);
    // Before anything changes: a revision that was never built is no place to go to.
    static_cast<void>(load_record(config_.shared, job.path, to));
    record.rev = order.rev ? order.rev : record.rev;
    record.want_running = true;
    record.pin.reset();
    if (record.rev != to) {
        record.pin = MachineRecord::Pin{.rev = to, .why = kRolledBack};
    }
    save(job);
    return bring_up(job, to);
}

Verdict Deployer::restart(Job& job) {
    if (!job.record.rev) {
        fail(ExitCode::kRefused, "no machine '{}'", job.path.text());
    }
    const bool ran = job.record.did.state == MachineRecord::State::kRunning;
    job.record.want_running = true;
    save(job);
    if (!ran || job.record.did.rev != job.record.target()) {
        return bring_up(job, job.record.target().value());
    }
    const Outcome outcome = ask([&] { return scheduler_.restart(job.path, watch(job.path)); });
    if (!outcome.good()) {
        return went_wrong(job, job.record.did.rev, "start", outcome.failure_code(),
                          outcome.reason());
    }
    job.record.did.at = now_text();
    save(job);
    const std::string address = outcome.last->address.empty() ? "" : outcome.last->address.front();
    const std::string host = outcome.last->host.value_or(config_.host);
    return {.text = fmt::format("restarted on {}, {}", host, address),
            .state = "running",
            .host = host,
            .address = address};
}

Verdict Deployer::stop(Job& job, bool wanted) {
    if (wanted) {
        if (!job.record.rev) {
            fail(ExitCode::kRefused, "no machine '{}'", job.path.text());
        }
        job.record.want_running = false;
        save(job);
    } else if (job.record.target()) {
        return {.state = "running", .quiet = true}; // changed while we waited for the lock
    }
    const Outcome outcome = ask([&] { return scheduler_.stop(job.path, false, watch(job.path)); });
    const bool unknown = outcome.exit_code == code(ExitCode::kRefused); // it never ran there
    if (outcome.exit_code != 0 && !unknown) {
        return went_wrong(job, job.record.did.rev, "start", outcome.failure_code(),
                          "not stopped: " + outcome.reason());
    }
    if (job.record.rev) {
        auto& did = job.record.did;
        did = {.state = MachineRecord::State::kStopped,
               .rev = did.rev,
               .spec = did.spec,
               .at = now_text(),
               .session = job.session,
               .why = std::nullopt};
        save(job);
    }
    return {.text = "stopped; its volumes are kept", .state = "stopped"};
}

Verdict Deployer::forget(Job& job) {
    const bool known = job.record.rev || job.record.did.rev;
    if (known) {
        job.record.rev.reset();
        save(job);
    }
    const Outcome outcome = ask([&] { return scheduler_.stop(job.path, true, watch(job.path)); });
    if (outcome.exit_code != 0) {
        const auto why = "not stopped: " + outcome.reason();
        if (!known) {
            return {
                .code = outcome.failure_code(), .stage = "start", .text = why, .state = "failed"};
        }
        return went_wrong(job, job.record.did.rev, "start", outcome.failure_code(), why);
    }
    if (known) {
        accounts_.note(job.path,
                       {.vcpu = 0, .mem_mib = 0, .disk_mib = job.record.granted.disk_mib});
    }
    records_.remove(job.path);
    return {.text = "stopped; its volumes are kept" + for_time(config_.volumes.keep_s),
            .state = "stopped",
            .quiet = !known};
}

Verdict Deployer::dry(const Job& job, const Order& order) const {
    switch (order.kind) {
    case Order::Kind::kDeploy:
    case Order::Kind::kResume:
    case Order::Kind::kRollback: {
        const auto rev = order.kind == Order::Kind::kDeploy     ? order.rev
                         : order.kind == Order::Kind::kRollback ? rollback_target(job, order)
                                                                : job.record.target();
        if (!rev) {
            return {.text = "would do nothing: it is to be stopped", .state = "stopped"};
        }
        try {
            return {.text = "would start " + admitted(job, *rev).spec.dump(), .state = "stopped"};
        } catch (const Error& e) {
            return {.code = code(e.code()), .stage = "admit", .text = e.what(), .state = "failed"};
        }
    }
    case Order::Kind::kRestart:
        return {.text = "would be restarted", .state = "running"};
    case Order::Kind::kStop:
    case Order::Kind::kSettle:
    case Order::Kind::kForget:
        break;
    }
    return {.text = "would be stopped", .state = "stopped"};
}

Scheduler::Watch Deployer::watch(const MachinePath& path) const {
    return [this, name = path.machine.str(), last = std::string(),
            why = std::optional<std::string>()](const MachineState& seen) mutable {
        if (seen.state != last && (seen.state == "fetching" || seen.state == "starting")) {
            say_(fmt::format("-----> {} {}", name, seen.state));
        }
        last = seen.state;
        const bool waits = seen.state == "starting" || seen.state == "backoff";
        if (config_.nomad && waits && seen.blame != 1 && seen.why && seen.why != why) {
            for (const auto& line : wrapped(name + ":", *seen.why)) {
                say_(line);
            }
            why = seen.why;
        }
    };
}

void Deployer::save(const Job& job) const {
    accounts_.note(job.path, held_by(job.record)); // first: what is counted was never forgotten
    records_.save(job.path, job.record);
}

} // namespace sky::submit
