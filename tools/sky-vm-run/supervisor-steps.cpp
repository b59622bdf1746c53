// SPDX-License-Identifier: MIT
#include <sky-vm-run/guard.hpp>
#include <sky-vm-run/health.hpp>
#include <sky-vm-run/network.hpp>
#include <sky-vm-run/qmp.hpp>
#include <sky-vm-run/supervisor-class.hpp>
#include <sky-vm-run/teardown.hpp>

#include <sky/lines.hpp>
#include <sky/log.hpp>

#include <algorithm>
#include <charconv>
#include <malloc.h>
#include <utility>

namespace sky::vm {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kLook{30 * 1000}; ///< between two looks at a machine that is ready
constexpr milliseconds kAgain{5 * 1000}; ///< between two tries to let a paused machine go on
constexpr milliseconds kProbe{500};      ///< between two looks whether a machine is ready, at most
constexpr milliseconds kFirstProbe{10};  ///< after the first of them, which is at once
constexpr const char* kPaused =
    "paused: a volume can not be written, its storage is full (it goes on once there is room)";
constexpr const char* kSilent = "the storage of its volumes does not answer: what reads and writes "
                                "them waits (it goes on once the storage answers)";

} // namespace

void Supervisor::boot_once() {
    attempt([this] {
        owned_ = false; // each start takes a generation of its own
        try {
            static_cast<void>(boot(vm_,
                                   {.spec = *spec_,
                                    .serial = want_.serial,
                                    .generation = ownership_.generation(),
                                    .alloc = alloc_,
                                    .lease = ownership_.lease(),
                                    .former = ownership_.former()},
                                   hooks()));
        } catch (...) {
            sweep(vm_);
            throw;
        }
        owned_ = true;
        up_since_ = Clock::now();
        next_probe_ = milliseconds::zero();
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
    owned_ = false;
    paused_ = false;
    silent_ = false;
    const auto left = swept();
    if (code == 0 && stays) {
        rests_ = true;
        return;
    }
    due_ = Clock::now() + backoff_.died(up);
    if (!left.empty()) {
        tell("backoff", left, ExitCode::kSystem);
    } else if (code == 0) {
        tell("starting", "the guest powered off or rebooted");
    } else {
        if (!ownership_.leased()) {
            tell("backoff", "this host has lost its lease", ExitCode::kUnavailable);
        } else if (text.starts_with(kStorageEnded)) {
            tell("backoff", "its storage process ended (see storage.log)", ExitCode::kSystem);
        } else if (text.starts_with(kStorageFenced)) {
            tell("backoff", "its storage has cut it off: it was given to another",
                 ExitCode::kSystem);
        } else if (code < 0) { // its guard never saw an end: nothing that the machine could do
            tell("backoff", "the machine was killed", ExitCode::kSystem);
        } else {
            tell("backoff", fmt::format("the hypervisor ended with {} (see its logs)", code));
        }
    }
}

/// Removes what is left of a machine that has ended. What can not be removed now is the next
/// start's, which does not begin before, or else cleanup's: why, or nothing.
std::string Supervisor::swept() {
    try {
        sweep(vm_);
        return {};
    } catch (const Error& e) {
        log::error("{}", e.what());
        return e.what();
    }
}

void Supervisor::stop() {
    tell("running", "stopping");
    guard_.reset();
    owned_ = false;
    paused_ = false;
    silent_ = false;
    try {
        stop_machine(vm_, *running_);
    } catch (const Error& e) { // it has ended; what is left goes before it starts again
        log::error("{}", e.what());
        due_ = Clock::now() + backoff_.died(milliseconds::zero());
        tell("backoff", e.what(), e.code());
    }
}

/// A hypervisor stops its machine where the storage has no room for a write: none is lost, and it
/// goes on from there. Asked again and again, it does so once there is room.
void Supervisor::look_at_disks() {
    if (!paused_ && !lacks_room(vm_, *running_)) {
        return;
    }
    const bool was = std::exchange(paused_, qmp_ask(vm_, QmpAsk::kStatus) == "io-error");
    if (paused_) {
        if (!was) {
            log::error("{}", kPaused);
            tell("backoff", kPaused, ExitCode::kIo);
        }
        static_cast<void>(qmp_ask(vm_, QmpAsk::kContinue));
    } else if (was) {
        up_since_ = Clock::now();
        tell("running", "");
    }
}

/// Nothing is lost and nothing ends: the machine waits, and whoever asks is told for what.
void Supervisor::look_at_storage() {
    const bool was = std::exchange(silent_, storage_is_silent(vm_));
    if (silent_ && !was) {
        log::error("{}", kSilent);
        tell("backoff", kSilent, ExitCode::kUnavailable);
    } else if (was && !silent_) {
        up_since_ = Clock::now();
        tell("running", "");
    }
}

void Supervisor::probe() {
    const auto& spec = running_->spec;
    const bool ready = answers(vm_, *running_, kProbe);
    next_probe_ = std::clamp(next_probe_ * 2, kFirstProbe, kProbe);
    if (ready) {
        tell("ready", "");
    } else if (said_ == "running" && Clock::now() - up_since_ > seconds(spec.ready_s)) {
        tell("failed", not_ready(spec));
    }
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
    const bool settled = said_ == "ready" || paused_ || silent_;
    if (settled) {
        ::malloc_trim(0); // nothing happens for long
    }
    if (events_.wait(guard_->get(), paused_ || silent_ ? kAgain : settled ? kLook : next_probe_)) {
        died();
    } else if (lost_share(*running_, guard_->get())) {
        log::error("virtiofsd has gone: ending the machine, which can not read its store");
        kill_block(running_->uid, seconds(10));
    } else if (!events_.terminating()) {
        look_at_disks();
        look_at_storage();
        if (!settled && !paused_ && !silent_) {
            probe();
        } else if (dns_died(vm_.config)) {
            serve_addresses();
        }
    }
}

/// It powered itself off and stays so, where somebody else decides when this process ends.
void Supervisor::rest() {
    if (said_ != "stopped") {
        tell("stopped", "it powered itself off");
    }
    static_cast<void>(events_.wait(-1, kLook));
}

} // namespace sky::vm
