// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>
#include <sky/lease.hpp>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace sky {

/// Where the hosts' leases stand.
class LeaseStore {
  public:
    LeaseStore() = default;
    LeaseStore(const LeaseStore&) = delete;
    LeaseStore& operator=(const LeaseStore&) = delete;
    virtual ~LeaseStore() = default;

    struct Read {
        LeaseRecord lease;
        std::uint64_t index = 0; ///< what write() compares with
    };
    /// Nothing: the host never held one. Throws Error(kUnavailable) without contact.
    [[nodiscard]] virtual std::optional<Read> read(const std::string& host) = 0;
    /// Compare-and-set on the record of `lease.host`; `index` 0: only if there is none. The new
    /// index, or nothing when somebody else was faster. Throws Error(kUnavailable), and then it may
    /// be done or not.
    [[nodiscard]] virtual std::optional<std::uint64_t> write(const LeaseRecord& lease,
                                                             std::uint64_t index) = 0;
    /// Whether the scheduler holds the host down. Throws as read().
    [[nodiscard]] virtual bool down(const std::string& host) = 0;
};

/// Nomad's variables, by this token; it may take `patience` for an answer.
[[nodiscard]] std::unique_ptr<LeaseStore> lease_store(const NomadConfig& config, std::string token,
                                                      std::chrono::milliseconds patience);

/// Who has a machine with leased volumes, as its owner record says.
struct Holder {
    std::string host;
    std::string incarnation;
    std::uint64_t generation = 0;
};

/// The lease of such a host, for whoever wants that machine.
struct Lease {
    std::string incarnation;
    bool revoked = false;
    bool waited = false;  ///< revoked, and so long ago that the host can write nothing any more
    bool still = false;   ///< it is renewed no more, or Nomad holds its host down
    bool claimed = false; ///< its holder was asked for this generation of the machine
};

/// What to do about a machine that another host has and did not release.
enum class Fence {
    kOver,   ///< nothing: that host can not write to its volumes any more
    kClaim,  ///< ask that host
    kRevoke, ///< take its lease away
    kAsked,  ///< wait: it was asked
    kWait,   ///< wait: its lease was taken away, and it may write yet
    kNone,   ///< wait: it holds none, nobody can tell
};
/// The rules of doc/interfaces.md "Lease". Pure.
[[nodiscard]] Fence plan_fence(const Holder& holder, const std::optional<Lease>& lease);

/// What one host sees of another's lease, by its own clock alone.
class Sight {
  public:
    using Clock = std::chrono::steady_clock;

    /// The record as it was read at `now`.
    void saw(const LeaseRecord& lease, Clock::time_point now);
    /// What that means for who wants this generation of a machine. `down`: the scheduler holds the
    /// host down. `wait`: so long after a host was cut off the filesystem takes its writes. Call
    /// saw() first. Pure.
    [[nodiscard]] Lease judge(const std::string& machine, std::uint64_t generation, bool down,
                              std::chrono::seconds wait, Clock::time_point now) const;

  private:
    LeaseRecord lease_;
    Clock::time_point since_;   ///< this serial of this incarnation was seen first
    Clock::time_point revoked_; ///< it was first seen revoked
};

/// The leases of hosts that one machine is wanted from. Refers to its store.
class Leases {
  public:
    /// `by`: who asks, for people. `machine`: alice.infra.www. `wait`: W of "Lease" there.
    Leases(LeaseStore& store, std::string by, std::string machine, std::chrono::seconds wait)
        : store_(store), by_(std::move(by)), machine_(std::move(machine)), wait_(wait) {}

    /// The lease of the holder's host; nothing: it never held one. Throws Error(kUnavailable).
    [[nodiscard]] std::optional<Lease> of(const Holder& holder);
    /// Asks for the machine. What came of it is seen the next time. Throws as of().
    void claim(const Holder& holder);
    /// Takes the whole host's lease away. As claim().
    void revoke(const Holder& holder);

  private:
    struct Seen {
        Sight sight;
        LeaseStore::Read last; ///< what was judged is what is changed, or nothing is
    };
    /// The holder's lease, if it is the one that was seen last.
    Seen* seen(const Holder& holder);

    LeaseStore& store_;
    std::string by_;
    std::string machine_;
    std::chrono::seconds wait_;
    std::map<std::string, Seen> seen_{}; ///< by host
};

/// W: the longest of the classes' `wait_s`.
[[nodiscard]] std::chrono::seconds lease_wait(const VolumesConfig& volumes);

} // namespace sky
