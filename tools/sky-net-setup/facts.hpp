// SPDX-License-Identifier: MIT
#pragma once

#include <sky-net-setup/plan.hpp>

namespace sky::net {

/// Looks at this host's links: what the way below each network carries.
[[nodiscard]] Facts read_facts(const Config& config);

} // namespace sky::net
