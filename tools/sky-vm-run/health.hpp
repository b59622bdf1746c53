// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/vm.hpp>

#include <chrono>

namespace sky::vm {

/// Whether a machine that runs is ready: its port answers within `limit`, it has said so on its
/// console, or its hypervisor answers.
[[nodiscard]] bool answers(const Vm& vm, const Running& running, std::chrono::milliseconds limit);

/// What a machine that did not get ready in time did not do, for its state line. Pure.
[[nodiscard]] std::string not_ready(const Spec& spec);

/// The hypervisor is there (`guard`: its guard's pidfd) and virtiofsd is not, and that for a
/// second: they end together otherwise.
[[nodiscard]] bool lost_share(const Running& running, int guard);

/// Whether a storage of the machine's volumes has so little room that a write may have failed.
[[nodiscard]] bool lacks_room(const Vm& vm, const Running& running);

/// Whether the storage of the machine's fenced volumes has not answered for so long that it must be
/// told.
[[nodiscard]] bool storage_is_silent(const Vm& vm);

/// Writes a state line to where it is read: the machine's directory, and in a cluster what other
/// hosts see, which is a hint: that it can not be written is logged. Throws SysError.
void publish(const Vm& vm, const StateLine& line);

} // namespace sky::vm
