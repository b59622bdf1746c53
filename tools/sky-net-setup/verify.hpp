// SPDX-License-Identifier: MIT
#pragma once

#include <sky-net-setup/host.hpp>

#include <string>
#include <vector>

namespace sky::net {

/// What came of one direction between two scratch ports.
struct Verdict {
    std::string mode;                 ///< "bridge", "vlan" or "routed"
    std::string way;                  ///< "to a neighbour", "back", "to another tenant"
    std::size_t forged = 0;           ///< kinds that were sent
    std::vector<std::string> crossed; ///< those that came through
    std::size_t honest = 0;
    std::vector<std::string> lost;       ///< honest kinds that did not come through
    std::vector<std::string> unprovable; ///< kinds that do not cross without rules either

    /// Whether honest frames were seen, so that those that were not seen did not cross. A host that
    /// is busy may be too late for that, which says nothing about what it lets through.
    [[nodiscard]] bool shown() const noexcept { return lost.empty() && unprovable.empty(); }
    /// For people.
    [[nodiscard]] std::string describe() const;
};

/// Shows on this host as it is that forged frames go nowhere and honest ones arrive: on scratch
/// ports beside the machines, whose rules are loaded with theirs, in every mode of the
/// configuration's networks. Hold the host's lock. The caller converges afterwards, which takes
/// them away.
[[nodiscard]] std::vector<Verdict> verify(const Config& config, const Host& host,
                                          const Facts& facts);

} // namespace sky::net
