// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/vm.hpp>

#include <optional>
#include <string>

namespace sky::vm {

/// Verb `run`: keeps one machine as want.json and spec.json say, until it shall not run any more:
/// adopts what lives, starts, watches, starts again with back-off, stops. SIGTERM and SIGINT stop
/// the machine cleanly and end it. Killed at any line it leaves a machine that runs on, and nothing
/// that the next run, or cleanup, does not take over or remove. There is one per machine: a second
/// is Error(kBusy). The exit code: 0, kSomeFailed when the machine failed for good, or kRefused
/// when the owner record gives the machine to another. With `alloc` and `spec` it is Nomad's: runs
/// this spec, for this allocation, until it is told to stop, and shows the machine's console on
/// stdout.
int supervise(const Vm& vm, const std::string& alloc = {},
              const std::optional<Spec>& spec = std::nullopt);

} // namespace sky::vm
