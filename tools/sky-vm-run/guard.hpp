// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/files.hpp>
#include <sky/config.hpp>

namespace sky::vm {

inline constexpr const char* kStorageEnded = "storage ";
inline constexpr const char* kStorageFenced = "fenced ";

/// Verb `guard` (hidden): makes the sandbox that running.json describes and leaves in it a guard,
/// pid 1 of its pid namespace under a uid of its own, as a child of whoever reaps. Prints the
/// guard's pid once the sandbox stands and goes.
/// The guard waits for one byte on this process's stdin: then it starts the hypervisor and keeps
/// its console; when stdin ends first, the guard ends and with it the sandbox. It writes
/// kNotification to vm/T.R.M/notified once the machine has said so, the hypervisor's exit code to
/// vm/T.R.M/exit and ends with it, or with its storage process (kStorageEnded before the code), or
/// when the storage has cut that one off (kStorageFenced). If the guard dies, the kernel ends the
/// machine. Throws Error.
[[noreturn]] void guard_verb(const Config& config, const MachinePath& machine);

/// Verb `share` (hidden): listens at vm/T.R.M/sock/store.sock and leaves virtiofsd behind it in a
/// view of its own, under the machine's third uid, without capabilities. The socket listens before
/// the program starts, so nobody has to wait for it. Prints its pid and goes; the program waits for
/// one byte on stdin as the guard does. Throws Error.
[[noreturn]] void share_verb(const Config& config, const MachinePath& machine);

/// Reads running.json and the record of its deployment.
struct Started {
    Running running;
    std::vector<StorePath> closure;
};
/// Throws Error(kRefused) when the machine was not started.
[[nodiscard]] Started load_started(const Config& config, const MachinePath& machine);

} // namespace sky::vm
