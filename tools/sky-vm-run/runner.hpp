// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/confine.hpp>
#include <sky/spec.hpp>

#include <cstdint>
#include <string>
#include <sys/types.h>
#include <vector>

namespace sky::vm {

inline constexpr unsigned long kRunnerFiles = 65536; ///< descriptors of what serves a guest

/// The group that may open /dev/kvm: all that a runner is given beside its own.
[[nodiscard]] std::vector<gid_t> runner_groups();

/// No file that a runner has needs more bytes than this: its disks are files that it could let grow
/// until the host's storage is full. Guest memory may be a file, too.
[[nodiscard]] std::uint64_t largest_file(const Spec& spec);

/// What runs a guest, and as whom.
struct Runner {
    std::string program;
    Identity identity;
};

/// The hypervisor's process, from fork to exec. What goes wrong stands in the console.
[[noreturn]] void start_runner(const Runner& runner, int console) noexcept;

} // namespace sky::vm
