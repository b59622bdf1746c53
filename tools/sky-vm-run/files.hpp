// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>
#include <sky/name.hpp>
#include <sky/spec.hpp>
#include <sky/state.hpp>

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace sky::vm {

/// Where a machine's files lie: STATE/vm/T.R.M, root's alone (0711, files 0600).
class MachineFiles {
  public:
    using Path = std::filesystem::path;
    MachineFiles(const State& state, const MachinePath& machine) : base_(state.vm(machine)) {}

    [[nodiscard]] const Path& base() const noexcept { return base_; }
    [[nodiscard]] Path spec() const { return base_ / "spec.json"; }       ///< what shall run
    [[nodiscard]] Path want() const { return base_ / "want.json"; }       ///< whether it shall
    [[nodiscard]] Path running() const { return base_ / "running.json"; } ///< what was started
    [[nodiscard]] Path state() const { return base_ / "state.json"; }     ///< what became of it
    [[nodiscard]] Path owner() const { return base_ / "owner.json"; }     ///< on a single host
    [[nodiscard]] Path lock() const { return base_ / "lock"; }            ///< for a change
    [[nodiscard]] Path supervisor_lock() const { return base_ / "supervisor.lock"; }
    /// Of who works on its volumes while the owner record says that this host has it.
    [[nodiscard]] Path volume_lock() const { return base_ / "volume.lock"; }
    [[nodiscard]] Path supervisor_log() const { return base_ / "supervisor.log"; }
    [[nodiscard]] Path console() const { return base_ / "console.log"; }
    [[nodiscard]] Path console_old() const { return base_ / "console.log.1"; }
    [[nodiscard]] Path exit() const { return base_ / "exit"; } ///< the hypervisor's exit code
    [[nodiscard]] Path notified() const { return base_ / "notified"; } ///< it is ready
    [[nodiscard]] Path share_log() const { return base_ / "virtiofsd.log"; }
    [[nodiscard]] Path answered() const { return base_ / "answered"; }
    [[nodiscard]] Path storage_log() const { return base_ / "storage.log"; }
    [[nodiscard]] Path disks() const { return base_ / "disks"; } ///< what a storage process shows
    [[nodiscard]] Path socks() const { return base_ / "sock"; }  ///< bound to /sky/sock
    [[nodiscard]] Path root() const { return base_ / "root"; }   ///< where a view is mounted

  private:
    Path base_;
};

/// want.json: what the operator or tenant asked for last. `serial` grows with each change that must
/// (re)start the machine, so that the answer to this request can be told from an older one.
struct Want {
    bool running = false;
    std::uint64_t serial = 0;
    bool operator==(const Want&) const = default;

    [[nodiscard]] static Want parse(std::string_view json);
    [[nodiscard]] std::string dump() const;
};

/// running.json: the copy of the spec made at start, and who runs it. Stands there from before the
/// first thing is made for this start until the last is removed.
struct Running {
    Spec spec;
    std::uint64_t serial = 0;
    std::uint64_t generation = 0;     ///< of the owner record it was started in
    std::string alloc = {};           ///< Nomad's allocation; empty: a single host
    std::string lease = {};           ///< the host's incarnation that it needs; empty: none
    uid_t uid = 0;                    ///< first of the machine's block
    pid_t guard = 0;                  ///< 0: none yet
    std::uint64_t guard_start = 0;    ///< its start time in ticks: pids come back
    bool begun = false;               ///< the hypervisor was let go
    std::string since;                ///< RFC 3339
    std::vector<std::string> address; ///< the registry's at start

    [[nodiscard]] static Running parse(std::string_view json);
    [[nodiscard]] std::string dump() const;
};

/// A machine's state as people and other tools see it; one line of JSON (doc/interfaces.md).
struct StateLine {
    MachinePath path;
    std::string state;      ///< fetching|starting|running|ready|backoff|stopped|failed
    std::string rev;        ///< empty: unknown
    std::string spec;       ///< its hash; empty: unknown
    std::string host = {};  ///< on which it was said
    std::string alloc = {}; ///< Nomad's allocation; empty: a single host
    pid_t pid = 0;          ///< of the hypervisor; 0: none
    std::string since;
    std::vector<std::string> address;
    std::int64_t restarts = 0;
    std::string why;          ///< empty: null
    std::uint64_t serial = 0; ///< of the want it answers; in the file only
    /// What `start` exits with if it ends here: 1, the machine is at fault; else the host. For
    /// others in those states only that a start may end in.
    int code = 1;

    [[nodiscard]] static StateLine parse(std::string_view json);
    [[nodiscard]] nlohmann::json json(bool whole) const;
    /// True for states in which nothing more comes by itself: ready, stopped, failed.
    [[nodiscard]] bool settled() const;
};

/// Throws Error(kIo), with the way out, unless `bytes` more fit there: asked before something is
/// stopped that could then not be started.
void need_room(const std::filesystem::path& directory, std::uint64_t bytes);

/// Reads and parses a file of ours, or nothing when it is not there; a spec or a state that is
/// damaged is as good as not there. Throws Error naming the file.
template <typename T>
[[nodiscard]] std::optional<T> load(const std::filesystem::path& file);

} // namespace sky::vm
