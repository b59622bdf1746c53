// SPDX-License-Identifier: MIT
#include <sky-vm-run/boot.hpp>
#include <sky-vm-run/events.hpp>
#include <sky-vm-run/network.hpp>
#include <sky-vm-run/processes.hpp>
#include <sky-vm-run/qmp.hpp>
#include <sky-vm-run/step.hpp>
#include <sky-vm-run/supervisor.hpp>
#include <sky-vm-run/teardown.hpp>

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/json.hpp>
#include <sky/lines.hpp>
#include <sky/lock.hpp>
#include <sky/log.hpp>

#include <charconv>
#include <functional>
#include <nlohmann/json.hpp>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace sky::vm {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kLook{30 * 1000}; ///< between two looks at a machine that is ready
constexpr milliseconds kProbe{500};      ///< between two looks whether a machine is ready

/// True for failures that waiting may mend.
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

class Supervisor {
  public:
    explicit Supervisor(const Vm& vm) : vm_(vm), events_(vm.files.base()) {}

    int run();

  private:
    void read_wishes();
    void look();
    Facts facts() const;
    BootHooks hooks();
    void attempt(const std::function<void()>& work);
    void adopt();
    void boot_once();
    void prepare_next();
    void stop();
    void died();
    void watch(const Facts& now);
    void probe();
    void serve_addresses();
    bool lost_share();
    int leave();
    void tell(std::string state, std::string why, ExitCode blame = ExitCode::kSomeFailed);

    const Vm& vm_;
    std::string alloc_; ///< Nomad's allocation
    Events events_;
    Want want_;
    std::optional<Spec> spec_;
    std::optional<Running> running_;
    std::optional<Process> guard_process_;
    std::optional<Fd> guard_;
    pid_t runner_ = 0;
    bool rests_ = false;
    bool prepared_ = false;
    std::string hopeless_; ///< why; empty: not
    Backoff backoff_;
    std::optional<Clock::time_point> due_;
    Clock::time_point up_since_ = Clock::now();
    std::string said_; ///< the state told last
    std::string why_;
    std::string since_;
};

void Supervisor::read_wishes() {
    const auto before = want_;
    want_ = load<Want>(vm_.files.want()).value_or(Want{});
    spec_ = load<Spec>(vm_.files.spec());
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
    atomic_write(vm_.files.state(), dump_json(line.json(true)) + "\n", {.durable = false});
    log::info("{}{}{}", said_, why_.empty() ? "" : ": ", why_);
}

BootHooks Supervisor::hooks() {
    return {.tell = [this](const char* state, const std::string& why) { tell(state, why); },
            .wait =
                [this, want = want_](int fd, milliseconds limit) {
                    const bool ready = events_.wait(fd, limit);
                    read_wishes();
                    if (events_.terminating() || !(want_ == want)) {
                        throw Interrupted{};
                    }
                    return ready;
                }};
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
            tell("failed", hopeless_);
        }
    }
}

void Supervisor::boot_once() {
    attempt([this] {
        const Spec spec = *spec_;
        try {
            static_cast<void>(boot(vm_, spec, want_.serial, hooks()));
        } catch (...) {
            sweep(vm_);
            throw;
        }
        up_since_ = Clock::now();
        look();
        if (guard_) {
            tell("running", "");
        } else {
            died();
        }
    });
}

/// What runs goes on until what shall run instead lies ready: a closure that can not be had stops
/// nothing.
void Supervisor::prepare_next() {
    attempt([this] {
        const Spec spec = *spec_;
        static_cast<void>(prepare(vm_, spec, hooks()));
        prepared_ = true;
    });
}

/// The machine ended by itself.
void Supervisor::died() {
    const auto text = read_file_if_exists(vm_.files.exit(), 64).value_or("");
    int code = -1;
    std::from_chars(text.data(), text.data() + text.size(), code);
    const auto up = std::chrono::duration_cast<milliseconds>(Clock::now() - up_since_);
    const bool stays = running_->spec.on_poweroff == Spec::OnPoweroff::kStay;
    guard_.reset();
    sweep(vm_);
    if (code == 0 && stays) {
        rests_ = true;
        return;
    }
    due_ = Clock::now() + backoff_.died(up);
    if (code == 0) {
        tell("starting", "the guest powered off or rebooted");
    } else {
        if (code < 0) { // its guard never saw an end: nothing that the machine could do
            tell("backoff", "the machine was killed", ExitCode::kSystem);
        } else {
            tell("backoff", fmt::format("the hypervisor ended with {} (see its logs)", code));
        }
    }
}

void Supervisor::stop() {
    tell("running", "stopping");
    stop_machine(vm_, *running_);
    guard_.reset();
}

void Supervisor::probe() {
    const auto& spec = running_->spec;
    const bool ready =
        spec.ready.type == Spec::Ready::Type::kTcp
            ? !running_->address.empty() &&
                  tcp_answers(running_->address.front(), spec.ready.port, kProbe)
            : spec.hypervisor != "qemu" || qmp_ask(vm_, QmpAsk::kStatus) == "running";
    if (ready) {
        tell("ready", "");
    } else if (said_ == "running" && Clock::now() - up_since_ > seconds(spec.ready_s)) {
        tell("failed",
             spec.ready.type == Spec::Ready::Type::kTcp
                 ? fmt::format("port {} did not answer within {} s", spec.ready.port, spec.ready_s)
                 : fmt::format("the hypervisor did not answer within {} s", spec.ready_s));
    }
}

/// The hypervisor is there and virtiofsd is not, and that for a second: they end together
/// otherwise.
bool Supervisor::lost_share() {
    const auto gone = [&] {
        return processes_of(running_->uid + static_cast<uid_t>(MachineUid::kVirtiofsd), 1).empty();
    };
    if (running_->spec.store != Spec::Store::kVirtiofs || !gone()) {
        return false;
    }
    return !readable(guard_->get(), seconds(1)) && gone();
}

/// Takes over a machine that another supervisor started and did not see to its end.
void Supervisor::adopt() {
    tell("running", "adopted");
    try {
        attach_taps(vm_, *running_, guard_->get(), hooks());
    } catch (const Interrupted&) {
        said_.clear(); // not done yet
    } catch (const Error& e) {
        log::error("{}: ending the machine", e.what());
        kill_block(running_->uid, seconds(10));
    }
}

/// A machine without leases loses its address: whoever sees first that dnsmasq died has it started.
void Supervisor::serve_addresses() {
    try {
        log::warn("a dnsmasq has died: starting it again");
        net_setup(vm_, "attach", running_->spec, running_->guard);
    } catch (const Error& e) {
        log::error("{}", e.what()); // the next look tries again
    }
}

void Supervisor::watch(const Facts& now) {
    if (!now.current) {
        if (events_.wait(guard_->get(), now.backoff > milliseconds::zero() ? now.backoff : kLook)) {
            died();
        }
        return;
    }
    if (said_.empty()) {
        adopt();
    } else if (spec_->rev.str() != running_->spec.rev.str()) {
        // The same deployment from another commit: nothing restarts, the name is new.
        running_->spec = *spec_;
        atomic_write(vm_.files.running(), running_->dump());
        tell(said_, why_);
    }
    const bool settled = said_ == "ready";
    if (events_.wait(guard_->get(), settled ? kLook : kProbe)) {
        died();
    } else if (lost_share()) {
        log::error("virtiofsd has gone: ending the machine, which can not read its store");
        kill_block(running_->uid, seconds(10));
    } else if (!settled && !events_.terminating()) {
        probe();
    } else if (settled && !events_.terminating() && dns_died(vm_.config)) {
        serve_addresses();
    }
}

int Supervisor::leave() {
    sweep(vm_);
    if (!hopeless_.empty() && want_.running) {
        tell("failed", hopeless_);
        return code(ExitCode::kSomeFailed);
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
        case Step::kBoot:
            boot_once();
            break;
        case Step::kLeave:
            return leave();
        }
    }
}

} // namespace

int supervise(const Vm& vm) {
    const Lock lock = Lock::take(vm.files.supervisor_lock(), fmt::format("pid {}", ::getpid()),
                                 std::chrono::seconds(5));
    leave_callers_cgroups(cgroup_host(), vm.config.prefix);
    return Supervisor(vm).run();
}

} // namespace sky::vm
