// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/vm.hpp>
#include <sky/fd.hpp>

#include <chrono>
#include <filesystem>
#include <optional>

#include <sys/types.h>
#include <vector>

namespace sky::vm {

/// The machine's fenced volumes, as its storage process shows them: to be opened by the first
/// process of the sandbox while it is root, and may reach them. Throws SysError.
[[nodiscard]] std::vector<Fd> fenced_volumes(const Vm& vm, const Running& running);

/// Starts a process that reads a block of each volume every few seconds, past every cache, and ends
/// as soon as the storage says that it cut us off. It needs nobody else's help for that, and hangs
/// alone where the storage hangs. Each time that all were read it writes the time (CLOCK_BOOTTIME,
/// nanoseconds) into `answered`. Returns its pid; 0: there is no such volume. Throws SysError.
[[nodiscard]] pid_t start_lookout(const std::vector<Fd>& volumes, const Fd& answered);

/// For how long the storage has not answered the lookout that writes this file; nothing: there is
/// none, or nothing in it.
[[nodiscard]] std::optional<std::chrono::nanoseconds>
silence(const std::filesystem::path& answered);

} // namespace sky::vm
