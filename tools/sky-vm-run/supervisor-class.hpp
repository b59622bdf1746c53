// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/boot.hpp>
#include <sky-vm-run/events.hpp>
#include <sky-vm-run/ownership.hpp>
#include <sky-vm-run/processes.hpp>
#include <sky-vm-run/step.hpp>

#include <sky/error.hpp>

#include <chrono>
#include <functional>
#include <optional>
#include <string>

namespace sky::vm {

/// The life of one machine on this host, step by step: what supervise() runs. Refers to the machine
/// and to the store of its owner record and to the leases.
class Supervisor {
  public:
    Supervisor(const Vm& vm, OwnerStore& store, const Claimant& me, LeaseNeeds needs)
        : vm_(vm), alloc_(me.alloc), ownership_(store, me, std::move(needs)),
          events_(vm.files.base()) {}

    int run();

  private:
    void read_wishes();
    void look();
    Facts facts() const;
    BootHooks hooks();
    void attempt(const std::function<void()>& work);
    void own();
    void wait_for_owner(const std::string& why);
    void adopt();
    void boot_once();
    void prepare_next();
    void stop();
    void died();
    std::string swept();
    void look_at_disks();
    void look_at_storage();
    void watch(const Facts& now);
    void probe();
    void serve_addresses();
    void rest();
    void release();
    int leave();
    void tell(std::string state, std::string why, ExitCode blame = ExitCode::kSomeFailed);

    const Vm& vm_;
    std::string alloc_; ///< Nomad's allocation; empty: a single host
    Ownership ownership_;
    Events events_;
    Want want_;
    std::optional<Spec> spec_;
    std::optional<Running> running_;
    std::optional<Process> guard_process_;
    std::optional<Fd> guard_;
    pid_t runner_ = 0;
    bool owned_ = false; ///< what lives, or else the next start, is in our generation
    bool rests_ = false;
    bool prepared_ = false;
    bool silent_ = false;                    ///< storage of its volumes does not answer
    bool paused_ = false;                    ///< by its hypervisor: a volume's storage is full
    std::string hopeless_;                   ///< why; empty: not
    ExitCode blame_ = ExitCode::kSomeFailed; ///< of what was hopeless
    std::string refused_; ///< why the machine is another's for ever; empty: it is not
    Backoff backoff_;
    std::optional<std::chrono::steady_clock::time_point> due_;
    std::chrono::steady_clock::time_point up_since_ = std::chrono::steady_clock::now();
    std::chrono::milliseconds next_probe_{0};
    std::string said_; ///< the state told last
    std::string why_;
    std::string since_;
};

/// True for failures that waiting may mend.
[[nodiscard]] bool passes(const Error& e);

} // namespace sky::vm
