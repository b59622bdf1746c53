// SPDX-License-Identifier: MIT
#pragma once

#include <sky-net-setup/link.hpp>
#include <sky-net-setup/plan.hpp>

namespace sky::net {

/// Makes the links of the plan's segments, or has those that are there follow it.
void make_segments(Links& links, const Plan& plan);

/// Throws Error(kConfig) naming the host where its kernel would not carry a segment of the plan.
void check_kernel(const Config& config, const Plan& plan);

/// Connects a tap, which is on the host, with its segment.
void plug(Links& links, const Port& port, const Bridge& bridge);

} // namespace sky::net
