// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/deadline.hpp>
#include <sky-vm-run/driver.hpp>
#include <sky-vm-run/owner-store.hpp>

namespace sky::vm {

/// What a machine of a cluster needs to know of leases.
struct LeaseNeeds {
    Leases* others = nullptr; ///< of the host that had it; not on a single host
    /// Of this host's deadline, for a machine with volumes that other hosts can open, too.
    std::optional<std::filesystem::path> own = std::nullopt;
};

/// This host's claim to one machine: asks, takes, releases. Refers to its store, and the leases.
class Ownership {
  public:
    Ownership(OwnerStore& store, Claimant me, LeaseNeeds needs)
        : store_(store), me_(std::move(me)), needs_(std::move(needs)) {}

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
    /// Right before the hypervisor begins: that the machine is still this host's, by a second
    /// compare-and-set, which writes down who has its fenced volumes open now (`clients`; nothing:
    /// it has none), and that the host's lease holds. After that whoever writes `released` finds
    /// what lives, and whoever takes the machine knows whom to cut off. Nothing to do where it
    /// needs neither. Error(kBusy), Error(kUnavailable): do not begin.
    void confirm(const std::optional<std::vector<std::string>>& clients);
    /// Takes the next generation for who works on the volumes of a machine that does not run, so
    /// that no other host starts it before release(): whoever wants it asks this host's lease.
    /// False: another host has it, or takes it just now. Throws as ask(), and Error(kUnavailable)
    /// without a lease.
    [[nodiscard]] bool hold();
    /// Writes that nothing of the machine lives here, if the record still names this host. Call it
    /// only while holding the supervisor's lock. False: the record is another's. Throws as ask().
    bool release();
    /// The generation that ask() took or found last; 0: none.
    [[nodiscard]] std::uint64_t generation() const noexcept { return held_; }
    /// Who had the volumes open before that.
    [[nodiscard]] const Former& former() const noexcept { return former_; }
    /// Of the host's lease, under which that was; empty: it needs none.
    [[nodiscard]] std::string lease() const { return needs_.own ? me_.incarnation : ""; }
    /// Whether the host's lease holds, where it needs one.
    [[nodiscard]] bool leased() const { return !needs_.own || held_lease(*needs_.own); }

  private:
    Answer take(const Question& question, std::uint64_t index);

    OwnerStore& store_;
    Claimant me_;
    LeaseNeeds needs_;
    std::uint64_t held_ = 0;
    Former former_;
};

/// The claimant of this host. Without leases its incarnation is the boot's: nothing outlives that.
[[nodiscard]] Claimant claimant(const Config& config, const std::string& alloc);

} // namespace sky::vm
