// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/vm.hpp>

#include <optional>
#include <string>
#include <vector>

namespace sky::vm {

/// `--dry-run` of a verb: it tells what it would do, and touches nothing.
struct DryRun {
    bool on = false;
    bool json = false; ///< as one JSON object per machine
    explicit operator bool() const noexcept { return on; }
};

/// What a verb would do, one line for people each.
using Outline = std::vector<std::string>;

/// A machine as its files and /proc show it.
struct Glance {
    bool wanted = false;         ///< somebody asked for it to run
    pid_t pid = 0;               ///< of its guard, 0: it does not live
    std::optional<Spec> running; ///< what it was started from, if it lives
    std::size_t lacking = 0;     ///< store paths that the start would fetch
};
[[nodiscard]] Glance glance_at(const Vm& vm);

/// Pure. `known`: the machine's volumes in the registry.
[[nodiscard]] Outline outline_start(const Spec& spec, const Glance& now,
                                    const std::map<std::string, Registry::Disk>& known);
[[nodiscard]] Outline outline_stop(const Glance& now);
[[nodiscard]] Outline outline_forget(const Registry::Machine& entry);
/// `left`: something was started and not cleaned up.
[[nodiscard]] Outline outline_cleanup(bool left, uid_t uid);

/// "alice/infra/www: would ..." lines on `out`, or {"v":1,"tenant","repo","machine","would":[...]}.
void print_outline(const MachinePath& path, const Outline& outline, const DryRun& dry, int out);

} // namespace sky::vm
