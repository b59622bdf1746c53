// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/vm.hpp>

namespace sky::vm {

/// Whether a supervisor holds its lock.
[[nodiscard]] bool supervised(const Vm& vm);

/// Starts a supervisor for the machine if none lives: detached from this process, its terminal and
/// its session; by systemd-run where systemd runs the host. Throws SysError.
void ensure_supervisor(const Vm& vm);

/// What ends a follow().
enum class Until { kUp, kStopped };

/// Prints each new state that answers `serial` (or a later one) to `out`, and keeps a supervisor
/// alive, until the machine is ready, stopped or has failed, or `limit` has passed since the last
/// state (more while it fetches). 0 when it came to what was waited for, else what to exit with:
/// StateLine::code. Error(kBusy) when the time is over. Stops when nobody reads `out`: Error(kIo).
int follow(const Vm& vm, std::uint64_t serial, Until until, std::chrono::seconds limit, int out);

} // namespace sky::vm
