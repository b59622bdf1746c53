// SPDX-License-Identifier: MIT
#pragma once

#include <sky-net-setup/host.hpp>

namespace sky::net {

/// With this host's links as they are, and the registry if it can be read.
[[nodiscard]] Plan plan_of(const Config& config, std::vector<MachineNet> machines,
                           const std::optional<Registry>& registry);
/// Nothing when it can not be read: `down` goes on without names of machines elsewhere.
[[nodiscard]] std::optional<Registry> try_registry(const Config& config);
/// Whether they would have an address in common.
[[nodiscard]] bool has_address_of(const MachineNet& one, const MachineNet& other);

/// What `up`, `attach` and `down` do of a machine with no look at others but on its segments. False
/// where that is not enough, or failed half-way: all must be looked at then.
[[nodiscard]] bool join_beside(const Config& config, const Host& host, const MachineNet& machine,
                               const Registry& registry);
[[nodiscard]] bool attach_beside(const Config& config, const Host& host, const MachineNet& machine,
                                 const Fd& netns);
[[nodiscard]] bool leave_beside(const Config& config, const Host& host, const MachineNet& machine);

} // namespace sky::net
