// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/owner-store.hpp>

namespace sky::vm {

/// This host's claim to one machine: asks, takes, releases. Refers to its store.
class Ownership {
  public:
    Ownership(OwnerStore& store, Claimant me, bool leased)
        : store_(store), me_(std::move(me)), leased_(leased) {}

    struct Answer {
        Verdict verdict = Verdict::kWait; ///< kKeep, and kTake once it is taken
        bool stranger = false; ///< what lives here is not the machine of the record: end it, then
                               ///< ask again
        std::string why = {};
    };
    /// Reads the record, then the allocations, and takes the next generation if the rules allow it.
    /// `living`: the generation of the machine that lives on this host. Throws Error(kUnavailable)
    /// without contact; nothing is known then.
    [[nodiscard]] Answer ask(const std::optional<std::uint64_t>& living);
    /// Writes that nothing of the machine lives here, if the record still names this host. Call it
    /// only while holding the supervisor's lock. False: the record is another's. Throws as ask().
    bool release();
    /// The generation that ask() took or found last; 0: none.
    [[nodiscard]] std::uint64_t generation() const noexcept { return held_; }

  private:
    OwnerStore& store_;
    Claimant me_;
    bool leased_;
    std::uint64_t held_ = 0;
};

/// The claimant of this host: its incarnation is the boot's, since nothing outlives that.
[[nodiscard]] Claimant claimant(const Config& config, const std::string& alloc);

} // namespace sky::vm
