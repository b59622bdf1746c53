// SPDX-License-Identifier: MIT
#pragma once

#include <sky/name.hpp>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace sky::submit {

/// What counts against a tenant's quota.
struct Amount {
    std::uint64_t vcpu = 0;
    std::uint64_t mem_mib = 0;
    std::uint64_t disk_mib = 0;
    bool operator==(const Amount&) const = default;
    Amount& operator+=(const Amount& other);
};
[[nodiscard]] Amount at_least(const Amount& a, const Amount& b);

/// records/T/R/M.json: what is wanted of a machine and what was done, doc/interfaces.md. Written by
/// skyflake-deploy alone, under the machine's lock.
struct MachineRecord {
    enum class State { kRunning, kStopped, kFailed };
    struct Pin {
        Revision rev;
        std::string why;
        bool operator==(const Pin&) const = default;
    };
    struct Did {
        State state = State::kStopped;
        std::optional<Revision> rev;
        std::optional<Revision> job = {}; ///< in the spec that the scheduler holds, if another
        std::optional<std::string> spec;  ///< hash of the spec that was started
        std::string at;                   ///< RFC 3339
        std::optional<BuildId> session;   ///< in which it was tried
        std::optional<std::string> why;   ///< what is wrong, with a pin: why it is held back
        bool uncached = false;            ///< failed: the cache has not all of its deployment
        bool operator==(const Did&) const = default;
    };

    std::optional<Revision> rev; ///< the branch; nothing: it is gone, the stop is not finished
    bool want_running = true;
    std::optional<Pin> pin;
    Did did;
    std::vector<Revision> good; ///< got ready, newest first, at most kGoodMost
    Amount granted;
    std::vector<MachinePath> apart = {}; ///< of its tenant: on no host that has one of these

    bool operator==(const MachineRecord&) const = default;

    /// What should run: the pin, else the branch. Nothing if it is to be stopped.
    [[nodiscard]] std::optional<Revision> target() const;
    /// Why it is kept at an earlier revision against the branch's will; nothing for a rollback.
    [[nodiscard]] std::optional<std::string> held_back() const;
    /// Moves `revision` to the front of `good`.
    void note_good(const Revision& revision);

    /// Strict. Error(kData) naming the key.
    [[nodiscard]] static MachineRecord parse(std::string_view json);
    [[nodiscard]] std::string dump() const;
};

/// The reason in the pin of a rollback.
inline constexpr const char* kRolledBack = "rolled back";
inline constexpr std::size_t kGoodMost = 8;
inline constexpr std::size_t kWhyMost = 200;

/// The records of one host; a directory that skyflake-deploy owns.
class Records {
  public:
    explicit Records(std::filesystem::path state) : state_(std::move(state)) {}

    [[nodiscard]] std::optional<MachineRecord> load(const MachinePath& path) const;
    /// Whole or not at all, on disk when it returns.
    void save(const MachinePath& path, const MachineRecord& record) const;
    void remove(const MachinePath& path) const;
    /// Makes the directories that lock files and records lie in.
    void prepare(const MachinePath& path) const;
    [[nodiscard]] std::filesystem::path machine_lock(const MachinePath& path) const;
    /// Guards admission: from reading a tenant's usage to writing what was granted.
    [[nodiscard]] std::filesystem::path tenant_lock(const Tenant& tenant) const;
    /// Guards N+1: from looking at all that runs to writing what was granted. After the tenant's.
    [[nodiscard]] std::filesystem::path spare_lock() const;

    /// Machines that were granted room, from before that is written in their record until they are
    /// up: those for whom no scheduler may speak yet. Read and changed under spare_lock(), but for
    /// arrived(). Not synced: who goes on after a power cut asks for room anew.
    void set_out(const MachinePath& path) const;
    void arrived(const MachinePath& path) const noexcept;
    [[nodiscard]] std::set<MachinePath> on_their_way() const;

    using All = std::map<MachinePath, MachineRecord>;
    [[nodiscard]] All of_repo(const Tenant& tenant, const Repo& repo) const;
    [[nodiscard]] All of_tenant(const Tenant& tenant) const;

  private:
    std::filesystem::path state_;
};

} // namespace sky::submit
