// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/step.hpp>
#include <sky-vm-run/vm.hpp>

namespace sky::vm {

/// Removes all that a machine which no longer lives left on this host, by the copy of its spec made
/// at start: processes, taps and rules, sockets, cgroups, at last running.json itself. What still
/// lives with one of its uids is killed. Nothing to do is no error. Throws Error.
void sweep(const Vm& vm);

/// Ends the machine that running.json describes: system_powerdown, SIGTERM, SIGKILL as plan_stop()
/// has them, waiting on the guard's pidfd; then sweeps. True if the guest went by itself.
/// Throws Error.
bool stop_machine(const Vm& vm, const Running& running);

} // namespace sky::vm
