// SPDX-License-Identifier: MIT
#include <sky-vm-run/supervisor.hpp>

#include <sky-vm-run/health.hpp>
#include <sky-vm-run/supervisor-class.hpp>
#include <sky-vm-run/teardown.hpp>
#include <sky-vm-run/volume.hpp>
#include <sky-vm-run/wish.hpp>

#include <sky/cli.hpp>
#include <sky/json.hpp>
#include <sky/lock.hpp>
#include <sky/log.hpp>
#include <sky/nomad/client.hpp>

#include <algorithm>
#include <csignal>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace sky::vm {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kAsk{1000};      ///< between two looks whether it may be ours
constexpr milliseconds kPatience{4000}; ///< with Nomad: a SIGTERM waits as long

} // namespace

bool passes(const Error& e) {
    switch (e.code()) {
    case ExitCode::kUnavailable:
    case ExitCode::kSystem:
    case ExitCode::kIo:
    case ExitCode::kBusy:
        return true;
    case ExitCode::kOk:
    case ExitCode::kSomeFailed:
    case ExitCode::kUsage:
    case ExitCode::kData:
    case ExitCode::kBug:
    case ExitCode::kRefused:
    case ExitCode::kConfig:
        break;
    }
    return false;
}

void Supervisor::read_wishes() {
    const auto before = want_;
    want_ = load<Want>(vm_.files.want()).value_or(Want{});
    if (auto spec = load<Spec>(vm_.files.spec())) {
        spec_ = std::move(spec);
    } else if (!spec_ && running_) { // damaged: what runs is no reason to stop it
        spec_ = running_->spec;
    }
    if (want_.serial != before.serial) { // somebody asked anew
        hopeless_.clear();
        rests_ = false;
        prepared_ = false;
        due_.reset();
        backoff_.reset();
    }
}

/// Finds what lives. A guard that was never told to begin, or is not the one in running.json, is
/// what a dead supervisor left in the middle: it is removed, not adopted.
void Supervisor::look() {
    running_ = load<Running>(vm_.files.running());
    guard_.reset();
    guard_process_.reset();
    if (!running_) {
        return;
    }
    const Alive alive = alive_of(running_->uid);
    if (!alive.guard || !running_->begun || alive.guard->pid != running_->guard ||
        alive.guard->start != running_->guard_start) {
        return;
    }
    guard_ = pidfd_of(*alive.guard);
    guard_process_ = guard_ ? alive.guard : std::nullopt;
    runner_ = alive.runner ? alive.runner->pid : 0;
}

Facts Supervisor::facts() const {
    Facts f;
    f.terminating = events_.terminating();
    f.want_running = want_.running && spec_.has_value();
    f.alive = guard_.has_value();
    f.owned = owned_;
    f.refused = !refused_.empty();
    f.stays = !alloc_.empty();
    f.current = f.alive && spec_ && running_->serial == want_.serial &&
                running_->spec.hash() == spec_->hash();
    f.prepared = prepared_;
    f.rests = rests_;
    f.hopeless = !hopeless_.empty();
    if (due_) {
        f.backoff = std::max(milliseconds::zero(),
                             std::chrono::duration_cast<milliseconds>(*due_ - Clock::now()));
    }
    return f;
}

// By value: callers hand over what was said last, which this replaces.
void Supervisor::tell(std::string state, std::string why, ExitCode blame) {
    if (said_ != state || since_.empty()) {
        since_ = now_text();
    }
    said_ = std::move(state);
    why_ = std::move(why);
    if (guard_ && runner_ == 0) { // it was not the machine's uid yet
        const Alive alive = alive_of(running_->uid);
        runner_ = alive.runner ? alive.runner->pid : 0;
    }
    const StateLine line{.path = vm_.path,
                         .state = said_,
                         .rev = spec_ ? spec_->rev.str() : "",
                         .spec = spec_ ? spec_->hash() : "",
                         .host = vm_.config.host,
                         .alloc = alloc_,
                         .pid = guard_ ? runner_ : 0,
                         .since = since_,
                         .address =
                             guard_ && running_ ? running_->address : std::vector<std::string>{},
                         .restarts = backoff_.restarts(),
                         .why = why_,
                         .serial = want_.serial,
                         .code = code(blame)};
    publish(vm_, line);
}

BootHooks Supervisor::hooks() {
    return {.tell =
                [this](const char* state, const std::string& why) {
                    tell(state, why, ExitCode::kUnavailable); // the machine does nothing yet
                },
            .wait =
                [this, want = want_](int fd, milliseconds limit) {
                    const bool ready = events_.wait(fd, limit);
                    read_wishes();
                    if (events_.terminating() || !(want_ == want)) {
                        throw Interrupted{};
                    }
                    return ready;
                },
            .confirm = [this](const auto& clients) { ownership_.confirm(clients); }};
}

/// Does `work`; when it fails, says so and sets when, or whether, to try again.
void Supervisor::attempt(const std::function<void()>& work) {
    try {
        work();
    } catch (const Interrupted&) {
        log::info("interrupted: something else is wanted");
    } catch (const Error& e) {
        log::error("{}", e.what());
        if (passes(e)) {
            due_ = Clock::now() + backoff_.died(milliseconds::zero());
            tell("backoff", e.what(), e.code());
        } else {
            hopeless_ = e.what();
            // What could not be fetched was never tried: that says nothing about the machine.
            blame_ = said_ == "fetching" ? e.code() : ExitCode::kSomeFailed;
            tell("failed", hopeless_, blame_);
        }
    }
}

/// Asks for the machine. What lives here and is not the owner record's ends first.
void Supervisor::own() {
    try {
        const auto living = guard_ ? std::optional(running_->generation) : std::nullopt;
        const auto answer = ownership_.ask(living);
        if (answer.stranger) {
            log::warn("what lives here is of generation {}, which the owner record does not mean: "
                      "ending it",
                      *living);
            guard_.reset();
            sweep(vm_);
            return;
        }
        owned_ = answer.verdict == Verdict::kKeep || answer.verdict == Verdict::kTake;
        if (owned_ && guard_ && running_->generation != ownership_.generation()) {
            running_->generation = ownership_.generation();
            running_->alloc = alloc_;
            atomic_write(vm_.files.running(), running_->dump());
        }
        if (answer.verdict == Verdict::kNever) {
            refused_ = answer.why;
        } else if (!owned_) {
            wait_for_owner(answer.why);
        }
    } catch (const Error& e) {
        if (!guard_ && !passes(e)) {
            log::error("{}", e.what());
            hopeless_ = e.what();
            blame_ = e.code();
        }
        wait_for_owner(e.what());
    }
}

void Supervisor::wait_for_owner(const std::string& why) {
    due_ = Clock::now() + kAsk;
    if (why == why_) {
        return;
    }
    if (guard_) { // it lives on, and nothing was said of it yet
        why_ = why;
        log::warn("{}", why);
    } else {
        tell("starting", why, ExitCode::kUnavailable);
    }
}

/// Nothing of the machine lives here: says so, if it can. If not, cleanup will.
void Supervisor::release() {
    try {
        settle_volumes(vm_.config, vm_.path);
        static_cast<void>(ownership_.release());
    } catch (const Error& e) {
        log::warn("the owner record still says that it runs here: {}", e.what());
    }
}

int Supervisor::leave() {
    if (!refused_.empty() && !events_.terminating()) {
        log::error("it is not this supervisor's to run: {}", refused_);
        return code(ExitCode::kRefused);
    }
    if (const auto left = swept(); !left.empty()) { // its owner record still says that it is here
        tell("failed", left, ExitCode::kSystem);
        return code(ExitCode::kSystem);
    }
    release();
    if (!hopeless_.empty() && want_.running) {
        tell("failed", hopeless_, blame_);
        return code(blame_);
    }
    tell("stopped", rests_ && want_.running ? "it powered itself off"
                    : events_.terminating() ? "the supervisor was told to stop"
                                            : "");
    return 0;
}

int Supervisor::run() {
    // The guard's launcher goes; the guard becomes our child, and init's once we have gone.
    ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    look();
    for (;;) {
        while (::waitpid(-1, nullptr, WNOHANG) > 0) { // what launchers left to us
        }
        read_wishes();
        const Facts now = facts();
        switch (next_step(now)) {
        case Step::kWatch:
            watch(now);
            break;
        case Step::kPrepare:
            prepare_next();
            break;
        case Step::kStop:
            stop();
            break;
        case Step::kWait:
            static_cast<void>(events_.wait(-1, now.backoff));
            break;
        case Step::kOwn:
            own();
            break;
        case Step::kBoot:
            boot_once();
            break;
        case Step::kRest:
            rest();
            break;
        case Step::kLeave:
            return leave();
        }
    }
}

namespace {

/// The process that shows the machine's console on our stdout, for as long as this lives.
class ConsoleShow {
  public:
    explicit ConsoleShow(const Vm& vm) {
        std::error_code none;
        const auto size = std::filesystem::file_size(vm.files.console(), none);
        Child child = vm.self("console", {std::to_string(none ? 0 : size)}).spawn();
        process_ = child.pidfd();
        static_cast<void>(child.release()); // reaped with all the others
    }
    ConsoleShow(const ConsoleShow&) = delete;
    ConsoleShow& operator=(const ConsoleShow&) = delete;
    ~ConsoleShow() {
        ::syscall(SYS_pidfd_send_signal, process_.get(), SIGTERM, nullptr, 0);
        pollfd entry{process_.get(), POLLIN, 0};
        ::poll(&entry, 1, 2000);
    }

  private:
    Fd process_;
};

/// Whether other hosts can open its volumes, too.
bool needs_lease(const Config& config, const Spec& spec) {
    return std::any_of(spec.volumes.begin(), spec.volumes.end(), [&](const auto& disk) {
        const auto at = config.volumes.classes.find(disk.storage_class);
        return at != config.volumes.classes.end() && at->second.kind == VolumeClass::Kind::kLeased;
    });
}

} // namespace

int supervise(const Vm& vm, const std::string& alloc, const std::optional<Spec>& spec) {
    // Another allocation's supervisor may be ending on this host.
    const auto limit = seconds(spec ? spec->stop_s + 60 : 5);
    const Lock lock =
        Lock::take(vm.files.supervisor_lock(), fmt::format("pid {}", ::getpid()), limit);
    if (spec) {
        static_cast<void>(wish(vm, true, false, &*spec));
    }
    leave_callers_cgroups(cgroup_host(vm.config.prefix), vm.config.prefix);
    const auto store = owner_store(vm.config, vm.path, vm.files.owner(), kPatience);
    std::unique_ptr<LeaseStore> lease_records;
    std::optional<Leases> others;
    LeaseNeeds needs;
    if (spec && vm.config.nomad) {
        lease_records = lease_store(*vm.config.nomad,
                                    nomad::read_token(vm.config.nomad->host_token), kPatience);
        needs.others = &others.emplace(*lease_records, vm.config.host, vm.path.joined(),
                                       lease_wait(vm.config.volumes));
        if (needs_lease(vm.config, *spec)) {
            needs.own = vm.state.deadline();
        }
    }
    std::optional<ConsoleShow> console;
    if (spec) {
        console.emplace(vm);
    }
    return Supervisor(vm, *store, claimant(vm.config, alloc), std::move(needs)).run();
}

} // namespace sky::vm
