// SPDX-License-Identifier: MIT
#include "sky-nomad-submit/deployer.hpp"

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/json.hpp>
#include <sky/lock.hpp>
#include <sky/state.hpp>

#include <algorithm>
#include <chrono>

namespace sky::submit {
namespace {

using std::chrono::seconds;

constexpr const char* kSameSystem = "same system as before, not restarted";

std::string short_rev(const Revision& rev) {
    return rev.str().substr(0, 7);
}

constexpr const char* kCacheStage = "cache"; ///< a push that builds and caches it again helps

struct Uncached : Error {
    using Error::Error;
};

Record cached_record(const std::filesystem::path& state, const MachinePath& path,
                     const Revision& rev) {
    try {
        return load_record(state, path, rev);
    } catch (const Error& e) {
        throw Uncached(e.code(), e.what());
    }
}

/// " for 30 days", as far as a person counts.
std::string for_time(std::int64_t keep_s) {
    constexpr std::int64_t kHour = 3600;
    constexpr std::int64_t kDay = 24 * kHour;
    return keep_s >= 2 * kDay    ? fmt::format(" for {} days", keep_s / kDay)
           : keep_s >= 2 * kHour ? fmt::format(" for {} hours", keep_s / kHour)
                                 : "";
}

/// Runs already what `what` would start, and was not restarted for it.
bool same_as_before(const MachineRecord::Did& before, const Admitted& what,
                    const Outcome& outcome) {
    return before.state == MachineRecord::State::kRunning && before.spec == what.spec.hash() &&
           outcome.last->since && *outcome.last->since <= before.at;
}

/// A call that could not be made, or was not answered, is an outcome like others.
Outcome ask(const std::function<Outcome()>& call) {
    try {
        return call();
    } catch (const Error& e) {
        return {.exit_code = code(e.code()), .last = {}, .said = e.what()};
    }
}

} // namespace

struct Deployer::Job {
    const MachinePath& path;
    const std::optional<BuildId>& session;
    MachineRecord record;
};

Deployer::Deployer(const Config& config, Scheduler& scheduler, Say say)
    : config_(config), scheduler_(scheduler), say_(std::move(say)), records_(config.shared) {}

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

Admitted Deployer::admitted(const Job& job, const Revision& rev) const {
    const Record record = cached_record(config_.shared, job.path, rev);
    const Manifest manifest = Manifest::parse(record.manifest);
    const Registry registry = load_registry(config_.shared);
    const auto* machine = registry.find(job.path);
    if (machine == nullptr) {
        throw AnotherIdentity(ExitCode::kRefused, "it has no identity any more (push again)");
    }
    return admit({.config = config_,
                  .record = record,
                  .manifest = manifest,
                  .machine = *machine,
                  .used = usage_of(job.path.tenant, job.path, records_.of_tenant(job.path.tenant),
                                   registry)});
}

/// Admission, and the grant written down before anybody else of this tenant is admitted. While two
/// revisions are at stake the larger of both is held.
Admitted Deployer::reserve(Job& job, const Revision& rev) {
    const Lock lock =
        Lock::take(records_.tenant_lock(job.path.tenant), "sky-nomad-submit", seconds(20));
    Admitted out = admitted(job, rev);
    const bool holds = job.record.did.state != MachineRecord::State::kStopped;
    job.record.granted = holds ? at_least(job.record.granted, out.granted) : out.granted;
    save(job);
    return out;
}

Verdict Deployer::bring_up(Job& job, const Revision& rev) {
    const auto before = job.record.did;
    std::optional<Admitted> what;
    try {
        what = reserve(job, rev);
    } catch (const Uncached& e) {
        return went_wrong(job, rev, kCacheStage, code(e.code()), e.what());
    } catch (const AnotherIdentity& e) {
        return went_wrong(job, rev, kCacheStage, code(e.code()), e.what());
    } catch (const Error& e) {
        // What ran behind it runs on.
        return went_wrong(job, rev, "admit", code(e.code()), e.what());
    }
    const Outcome outcome = ask([&] { return scheduler_.start(what->spec, watch(job.path)); });
    if (outcome.good()) {
        const bool same = same_as_before(before, *what, outcome);
        Verdict verdict = came_up(job, *what, outcome);
        if (same && verdict.code == 0) {
            verdict.text = kSameSystem;
        }
        return verdict;
    }
    if (!outcome.machine_failed()) {
        return went_wrong(job, rev, outcome.uncached() ? kCacheStage : "start",
                          outcome.failure_code(), outcome.reason());
    }
    const auto& good = job.record.good;
    const bool elsewhere =
        std::any_of(good.begin(), good.end(), [&](const Revision& r) { return r != rev; });
    const bool was_good = std::find(good.begin(), good.end(), rev) != good.end();
    return elsewhere && !was_good ? hold_back(job, rev, outcome.reason())
                                  : went_wrong(job, rev, "start", 1, outcome.reason());
}

/// Back to the last good revision, with the reason in the pin.
Verdict Deployer::hold_back(Job& job, const Revision& failed, const std::string& why) {
    const Revision back = job.record.good.front();
    const std::string reason = fmt::format("{} held back: {}", short_rev(failed), why);
    say_(fmt::format("       {}: {}", job.path.machine.str(), printable(why, 50)));
    say_(fmt::format("-----> {} goes back to {}", job.path.machine.str(), short_rev(back)));
    job.record.pin = MachineRecord::Pin{.rev = back, .why = reason};
    save(job);
    try {
        const Admitted what = reserve(job, back); // its grant was never given back
        const Outcome outcome = ask([&] { return scheduler_.start(what.spec, watch(job.path)); });
        if (!outcome.good()) {
            return went_wrong(job, back, "start", 1,
                              fmt::format("{}; {} does not start either: {}", reason,
                                          short_rev(back), outcome.reason()));
        }
        return came_up(job, what, outcome);
    } catch (const Error& e) {
        return went_wrong(job, back, "start", 1, fmt::format("{}; {}", reason, e.what()));
    }
}

/// It runs. A machine that is held back runs too, and is not what the branch asks for: code 1.
Verdict Deployer::came_up(Job& job, const Admitted& what, const Outcome& outcome) {
    const auto held = job.record.held_back();
    job.record.did = {.state = MachineRecord::State::kRunning,
                      .rev = what.spec.rev,
                      .job = outcome.last->rev != what.spec.rev ? outcome.last->rev : std::nullopt,
                      .spec = what.spec.hash(),
                      .at = now_text(),
                      .session = job.session,
                      .why = held};
    job.record.granted = what.granted;
    job.record.note_good(what.spec.rev);
    save(job);
    const auto& addresses = outcome.last->address;
    const std::string address = addresses.empty() ? "" : addresses.front();
    const std::string host = outcome.last->host.value_or(config_.host);
    if (held) {
        return {.code = 1,
                .stage = "start",
                .text = *held,
                .state = "running",
                .host = host,
                .address = address};
    }
    return {.text = fmt::format("running on {}{}{}", host, address.empty() ? "" : ", ", address),
            .state = "running",
            .host = host,
            .address = address};
}

Verdict Deployer::went_wrong(Job& job, const std::optional<Revision>& rev, const char* stage,
                             int code, const std::string& why) {
    auto& did = job.record.did;
    did = {.state = MachineRecord::State::kFailed,
           .rev = rev,
           .spec = did.spec,
           .at = now_text(),
           .session = job.session,
           .why = why,
           .uncached = std::string_view(stage) == kCacheStage};
    save(job);
    return {.code = code, .stage = stage, .text = why, .state = "failed"};
}

Scheduler::Watch Deployer::watch(const MachinePath& path) const {
    return
        [this, name = path.machine.str(), last = std::string()](const MachineState& seen) mutable {
            if (seen.state != last && (seen.state == "fetching" || seen.state == "starting")) {
                say_(fmt::format("-----> {} {}", name, seen.state));
            }
            last = seen.state;
        };
}

void Deployer::save(const Job& job) const {
    records_.save(job.path, job.record);
}

} // namespace sky::submit
