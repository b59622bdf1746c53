// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/vm.hpp>

namespace sky::vm {

/// What sky-net-setup reads: doc/interfaces.md. `guard`: whose network namespace; 0: none. Pure.
[[nodiscard]] std::string net_request(const Spec& spec, pid_t guard);

/// Runs `sky-net-setup VERB` for a machine; nothing for one without interfaces. Error with the
/// tool's own code and last words.
void net_setup(const Vm& vm, const char* verb, const Spec& spec, pid_t guard);

/// Whether a DHCP and DNS server of this host has died: a pid file of sky-net-setup's that tells of
/// nobody. Any verb of that starts it again.
[[nodiscard]] bool dns_died(const Config& config) noexcept;

/// Whether a TCP connection from this host to `address`:`port` comes about within `limit`.
[[nodiscard]] bool tcp_answers(const std::string& address, std::uint16_t port,
                               std::chrono::milliseconds limit) noexcept;

} // namespace sky::vm
