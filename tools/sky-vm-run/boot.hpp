// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/driver.hpp>
#include <sky-vm-run/vm.hpp>

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace sky::vm {

/// Bytes that the files of a start, and its first words, take.
constexpr std::uint64_t kStartRoom = 256U << 10U;

/// How a start tells what it does, and learns that it shall not go on.
struct BootHooks {
    std::function<void(const char* state, const std::string& why)> tell;
    /// Waits at most so long for `fd` to become readable (a pidfd: that the process ended); throws
    /// Interrupted when the machine shall no longer be started.
    std::function<bool(int fd, std::chrono::milliseconds limit)> wait;
    /// Right before the hypervisor begins, with who has its fenced volumes open; throws Error if it
    /// must not.
    std::function<void(const std::optional<std::vector<std::string>>& clients)> confirm;
};

/// Thrown through boot() by BootHooks::wait.
struct Interrupted {};

/// Checks the spec once more and has its closure unpacked: all that can be done while an older
/// deployment of the machine runs. Its place in the registry. Throws Error, Interrupted.
Registry::Machine prepare(const Vm& vm, const Spec& spec, const BootHooks& hooks);

/// What to start, and in whose name.
struct BootOrder {
    Spec spec;
    std::uint64_t serial = 0;     ///< of the want it answers
    std::uint64_t generation = 0; ///< taken in the owner record
    std::string alloc;            ///< Nomad's allocation; empty: a single host
    std::string lease;            ///< the host's incarnation that it needs; empty: none
    Former former = {};           ///< who had it before
};

/// Prepares and starts what the order says: store, volumes, network, sandbox; returns once the
/// hypervisor runs and its taps are at their bridges. What stands there when it throws is removed
/// by sweep(). Nothing of the machine may live. Throws Error, Interrupted.
Running boot(const Vm& vm, const BootOrder& order, const BootHooks& hooks);

/// Waits until the hypervisor has opened its taps, then has them moved to their bridges. Safe to
/// repeat: whoever adopts a machine does, since its starter may have died just before. Nothing when
/// the machine (`guard`: its pidfd) ends meanwhile. Throws Error, Interrupted.
void attach_taps(const Vm& vm, const Running& running, int guard, const BootHooks& hooks);

/// Verb `fetch` (hidden, root): unpacks the closure of revision `rev` into the tenant's store.
int fetch_verb(const Config& config, const MachinePath& machine, const Revision& rev);

} // namespace sky::vm
