// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/vm.hpp>

#include <chrono>

namespace sky::vm {

/// How long to wait for the lock of a change.
inline constexpr std::chrono::seconds kChangeLimit{10};

/// Whether what running.json describes lives.
[[nodiscard]] bool lives(const Vm& vm);

/// Writes down what shall be, under the machine's lock: whether it shall run, started `anew` or
/// not, and as which `spec` (null: the one that is there). The serial to wait for. Throws Error.
std::uint64_t wish(const Vm& vm, bool running, bool anew, const Spec* spec);

} // namespace sky::vm
