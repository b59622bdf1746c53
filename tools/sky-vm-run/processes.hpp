// SPDX-License-Identifier: MIT
#pragma once

#include <sky/fd.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace sky::vm {

/// A live process (no zombie), as /proc shows it.
struct Process {
    pid_t pid = 0;
    pid_t parent = 0;
    uid_t uid = 0;           ///< real uid
    pid_t inner_pid = 0;     ///< its pid in its own pid namespace
    bool inner = false;      ///< it lives in a pid namespace below ours
    std::uint64_t start = 0; ///< ticks since boot: tells a pid that came back
};

/// Parses /proc/PID/status and /proc/PID/stat. Nothing for a zombie or for text that makes no
/// sense. Pure.
[[nodiscard]] std::optional<Process> parse_process(std::string_view status, std::string_view stat);

/// All live processes with a real uid in [first, first + count).
[[nodiscard]] std::vector<Process> processes_of(uid_t first, std::uint32_t count);

/// What lives of a machine whose block of uids begins at `uid`.
struct Alive {
    std::optional<Process> guard;  ///< pid 1 of its namespace
    std::optional<Process> runner; ///< the guard's first child with the machine's uid
};
/// Among `all`, which processes_of() gave. Pure.
[[nodiscard]] Alive alive_among(const std::vector<Process>& all, uid_t uid);
[[nodiscard]] Alive alive_of(uid_t uid);

/// A pidfd of `process`, or nothing when it has ended or its pid belongs to another by now.
[[nodiscard]] std::optional<Fd> pidfd_of(const Process& process);

/// Sends SIGKILL to everything with a uid of the block until nothing is left.
/// Error(kBusy) when something still lives after `limit`.
void kill_block(uid_t uid, std::chrono::milliseconds limit);

/// Sends `signal` to every process of this very uid inside a pid namespace.
void signal_uid(uid_t uid, int signal) noexcept;

/// How many descriptors of the processes below this guard are queues of a tap (/proc/PID/fdinfo,
/// "iff:"). The tap's name is no help: it changes when the tap moves to the host.
[[nodiscard]] std::size_t attached_queues(pid_t guard);

} // namespace sky::vm
