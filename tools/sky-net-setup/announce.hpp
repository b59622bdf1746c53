// SPDX-License-Identifier: MIT
#pragma once

#include <sky-net-setup/link.hpp>
#include <sky-net-setup/plan.hpp>

namespace sky::net {

/// Tells the segment's other hosts where a machine is now, as it would itself with its first
/// broadcast: a gratuitous ARP from its MAC out of the uplink. Nothing if there is no uplink.
void announce(Links& links, const Bridge& bridge, const Port& port);

} // namespace sky::net
