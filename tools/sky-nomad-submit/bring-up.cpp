// SPDX-License-Identifier: MIT
#include "sky-nomad-submit/deployer-job.hpp"
#include "sky-nomad-submit/orders.hpp"

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/json.hpp>
#include <sky/lock.hpp>
#include <sky/registry.hpp>
#include <sky/state.hpp>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

namespace sky::submit {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kLook{1000}; ///< between two looks at hosts that are away

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

/// Runs already what `what` would start, and was not restarted for it.
bool same_as_before(const MachineRecord::Did& before, const Admitted& what,
                    const Outcome& outcome) {
    return before.state == MachineRecord::State::kRunning && before.spec == what.spec.hash() &&
           outcome.last->since && *outcome.last->since <= before.at;
}

} // namespace

Outcome ask(const std::function<Outcome()>& call) {
    try {
        return call();
    } catch (const Error& e) {
        return {.exit_code = code(e.code()), .last = {}, .said = e.what()};
    }
}

Admitted Deployer::admitted(const Job& job, const Revision& rev) const {
    const Record record = cached_record(config_.shared, job.path, rev);
    const Manifest manifest = Manifest::parse(record.manifest);
    const Registry registry = load_registry(config_);
    const auto* machine = registry.find(job.path);
    if (machine == nullptr) {
        throw AnotherIdentity(ExitCode::kRefused, "it has no identity any more (push again)");
    }
    const auto all = records_.of_tenant(job.path.tenant);
    Admitted out = admit({.config = config_,
                          .record = record,
                          .manifest = manifest,
                          .machine = *machine,
                          .used = usage_of(job.path.tenant, job.path, all, registry)});
    out.asked_apart = out.placing.apart;
    for (const auto& [path, other] : all) { // who will not be beside it, it will not be beside
        if (std::find(other.apart.begin(), other.apart.end(), job.path) != other.apart.end()) {
            out.placing.apart.push_back(path);
        }
    }
    return out;
}

/// Admission. Hosts that are away are waited for where N+1 wants them: without a lock, so that
/// others go on.
Admitted Deployer::reserve(Job& job, const Revision& rev) {
    const auto limit = Clock::now() + seconds(config_.nomad ? config_.nomad->place_s : 0);
    for (;;) {
        if (auto out = reserved(job, rev, Clock::now() < limit)) {
            return std::move(*out);
        }
        std::this_thread::sleep_for(kLook);
    }
}

/// The grant is written down before anybody else of this tenant is admitted. While two revisions
/// are at stake the larger of both is held. Nothing: ask again soon, said only to who is patient.
std::optional<Admitted> Deployer::reserved(Job& job, const Revision& rev, bool patient) {
    const Lock lock =
        Lock::take(records_.tenant_lock(job.path.tenant), "sky-nomad-submit", seconds(20));
    Admitted out = admitted(job, rev);
    const bool holds = job.record.did.state != MachineRecord::State::kStopped;
    if (!holds) { // who is refused now is asked about again next time
        job.record.granted.vcpu = 0;
        job.record.granted.mem_mib = 0;
    }
    std::optional<Lock> all;
    if (config_.nomad && (!holds || out.granted.vcpu > job.record.granted.vcpu ||
                          out.granted.mem_mib > job.record.granted.mem_mib)) {
        // Until the grant is written, which the next who asks counts.
        all = Lock::take(records_.spare_lock(), "sky-nomad-submit", seconds(60));
        if (!check_spare(job, out.spec, patient)) {
            return std::nullopt;
        }
        records_.set_out(job.path);
    }
    job.record.granted = holds ? at_least(job.record.granted, out.granted) : out.granted;
    job.record.apart = out.asked_apart;
    save(job);
    return out;
}

/// N+1. A machine that is there already is not asked: it would not run better for it. False: not
/// now, but perhaps soon.
bool Deployer::check_spare(const Job& job, const Spec& spec, bool patient) {
    const auto granted = [&](const MachinePath& path) -> std::optional<Amount> {
        const auto record =
            config_.tenants.contains(path.tenant) ? records_.load(path) : std::nullopt;
        const bool counts = record && record->target() && record->granted.vcpu > 0;
        return counts ? std::optional(record->granted) : std::nullopt;
    };
    auto coming = records_.on_their_way();
    coming.erase(job.path);
    std::erase_if(coming, [&](const MachinePath& path) {
        const bool over = !granted(path); // nobody brings it up any more
        if (over) {
            records_.arrived(path);
        }
        return over;
    });
    const auto lack = scheduler_.not_spared(spec, coming, granted);
    if (lack && config_.nomad->spare_refuses) {
        if (lack->passing && patient) {
            return false;
        }
        throw Error(ExitCode::kRefused, lack->text);
    }
    if (lack) {
        for (const auto& line : wrapped("warning: " + job.path.machine.str() + ":", lack->text)) {
            say_(line);
        }
    }
    return true;
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
    const Outcome outcome =
        ask([&] { return scheduler_.start(what->spec, what->placing, watch(job.path)); });
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
        const Outcome outcome =
            ask([&] { return scheduler_.start(what.spec, what.placing, watch(job.path)); });
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
    records_.arrived(job.path);
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

} // namespace sky::submit
