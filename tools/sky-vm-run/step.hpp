// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace sky::vm {

/// What a supervisor knows when it decides.
struct Facts {
    bool terminating = false;  ///< SIGTERM or SIGINT came: the host goes down
    bool want_running = false; ///< want.json
    bool alive = false;        ///< a guard of this machine lives
    bool owned = false;        ///< what lives, or the next start, is in our generation
    bool refused = false;      ///< the machine is another's for ever
    bool stays = false;        ///< Nomad ends this supervisor: a rest does not
    bool current = false;      ///< what lives is what is wanted: same serial, same spec hash
    bool prepared = false;     ///< what is wanted was checked and lies in the store
    bool rests = false;        ///< it powered itself off and shall stay so (on_poweroff "stay")
    bool hopeless = false;     ///< starting it failed for a reason that waiting does not mend
    std::chrono::milliseconds backoff{}; ///< so long to wait before the next start
};

enum class Step {
    kWatch,   ///< it runs as wanted, or shall run on until what is wanted can be had
    kPrepare, ///< fetch what is wanted while the old one runs on
    kStop,    ///< end it cleanly, then decide again
    kWait,    ///< dead, and it is not time yet
    kOwn,     ///< ask the owner record
    kBoot,    ///< start it
    kRest,    ///< it is off and shall be: wait to be told to go
    kLeave,   ///< nothing to do any more: remove what is left and go
};

[[nodiscard]] Step next_step(const Facts& facts) noexcept;

/// How long to wait before a machine that died is started again: 1 s, doubling, at most 60 s.
/// A machine that was up for kSteady starts from the beginning.
class Backoff {
  public:
    static constexpr std::chrono::seconds kLeast{1};
    static constexpr std::chrono::seconds kMost{60};
    static constexpr std::chrono::seconds kSteady{300};

    /// The machine died, or could not be started, after it had been up for `up`.
    std::chrono::seconds died(std::chrono::milliseconds up) noexcept;
    [[nodiscard]] std::int64_t restarts() const noexcept { return restarts_; }
    /// Somebody asked for it anew.
    void reset() noexcept;

  private:
    std::chrono::seconds next_ = kLeast;
    std::int64_t restarts_ = 0;
};

/// When a stop does what, counted from its begin; all of it fits inside `stop_s`.
struct StopPlan {
    static constexpr std::chrono::milliseconds kAgain{3000}; ///< between two system_powerdown

    std::chrono::milliseconds terminate_at{}; ///< SIGTERM to the hypervisor: a power cut
    std::chrono::milliseconds kill_at{};      ///< SIGKILL to the guard, which ends all
};
[[nodiscard]] StopPlan plan_stop(std::chrono::seconds stop) noexcept;

} // namespace sky::vm
