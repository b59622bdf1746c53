// SPDX-License-Identifier: MIT
#pragma once

#include <sky-net-setup/plan.hpp>

namespace sky::net {

/// What a VXLAN adds to each packet of the underlay: outer IP, UDP, VXLAN, inner Ethernet.
inline constexpr std::int64_t kVxlanOver4 = 50;
inline constexpr std::int64_t kVxlanOver6 = 70;

/// "bridge", "vlan", "vxlan", "routed".
[[nodiscard]] std::string_view mode_text(Mode mode) noexcept;
[[nodiscard]] std::optional<Mode> mode_of(std::string_view text) noexcept;

/// The VLAN or VNI of a tenant's segment, 0 where the mode has none. Throws Error(kRefused) when
/// the range has no such.
[[nodiscard]] std::int64_t segment_id(const Network& name, const NetworkConfig& network,
                                      std::uint32_t tenant_index);
/// The tenant's /64, or empty. Throws Error(kRefused) when the network has no such.
[[nodiscard]] std::string segment_ipv6(const Network& name, const NetworkConfig& network,
                                       std::uint32_t tenant_index);
/// The MTU of a network's machines. Throws Error(kConfig) naming this host when the configured one
/// does not fit, or the way below is not there.
[[nodiscard]] std::int64_t segment_mtu(const Network& name, const Config& config,
                                       const Facts& facts);

/// The segment that a port is on, without its machines.
[[nodiscard]] Bridge segment_of(const Port& port, const Config& config, const Facts& facts);

/// Who is found by name on a segment: how often a machine's short name is there, and the lines of
/// /etc/hosts for machines that are elsewhere. On a bridge of its own those that are up here alone.
class Names {
  public:
    Names(const Bridge& bridge, const Network& network, const std::vector<MachineNet>& machines,
          const Registry* registry);
    /// "www.infra", and "www" where that is one; "www.infra.alice" where the segment is shared.
    [[nodiscard]] std::vector<std::string> of(const MachinePath& path) const;
    /// Nothing when the registry could not be read.
    [[nodiscard]] const std::optional<std::vector<std::string>>& elsewhere() const noexcept {
        return elsewhere_;
    }

  private:
    bool shared_;
    std::map<std::string, int> uses_;
    std::optional<std::vector<std::string>> elsewhere_;
};

} // namespace sky::net
