// SPDX-License-Identifier: MIT
#pragma once

// The chains of our tables, in nft's language. What differs between hosts is in sets.

#include <string_view>

namespace sky::net {

inline constexpr std::string_view kInetChains = R"(
  # Tenants' and machines' processes: the operator's list, never this host or a guest. A socket
  # belongs to who opened it, so what sshd accepted is root's.
  chain guarded {
    fib daddr type != unicast reject with icmpx type admin-prohibited
    ip daddr @guests reject with icmpx type admin-prohibited
    ip6 daddr @guests6 reject with icmpx type admin-prohibited
    ip daddr @cluster4 reject with icmpx type admin-prohibited
    ip6 daddr @cluster6 reject with icmpx type admin-prohibited
    ip daddr @egress4 accept
    ip6 daddr @egress6 accept
    reject with icmpx type admin-prohibited
  }
  chain output {
    type filter hook output priority filter; policy accept;
    meta skuid @guarded_uids jump guarded
  }

  # From guests the host takes DHCP and DNS, on their own link, and answers to itself.
  chain from_guest {
    ct state established,related accept
    meta nfproto ipv4 udp dport 67 accept
    icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept
    fib daddr . iif type local meta l4proto { tcp, udp } th dport 53 accept
    ip saddr . ip daddr @gateways meta l4proto { tcp, udp } th dport 53 accept
    ip6 saddr . ip6 daddr @gateways6 meta l4proto { tcp, udp } th dport 53 accept
    drop
  }
  chain input {
    type filter hook input priority filter; policy accept;
    iifname @guest_links jump from_guest
    udp dport @vxlan_ports ip saddr != @nodes4 drop
    udp dport @vxlan_ports ip6 saddr != @nodes6 drop
  }

  # Out to the world, not to other tenants or into the cluster, but for answers. Between machines of
  # one routed segment, wherever they are: of two taps here their group tells at less cost. The pair
  # is for bridged packets that come by here where br_netfilter is on.
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifgroup . oifgroup @same_group accept
    iifname . oifname @same_bridge accept
    iifname != @guest_links jump from_outside
    ip saddr . ip daddr @same_segment accept
    ip6 saddr . ip6 daddr @same_segment6 accept
    iifname @guest_links jump out_of_guest
    oifname @guest_links jump to_guest
  }
  # A routed segment's other machines come in from where the route to them leads, whatever rp_filter
  # says.
  chain from_outside {
    ip saddr . ip daddr @same_segment fib saddr . iif oif missing drop
    ip6 saddr . ip6 daddr @same_segment6 fib saddr . iif oif missing drop
  }
  chain out_of_guest {
    oifname @guest_links drop
    ip daddr @guests drop
    ip6 daddr @guests6 drop
    ip daddr @cluster4 ct state != { established, related } drop
    ip6 daddr @cluster6 ct state != { established, related } drop
    ip6 saddr != @guests6 drop
  }
  chain to_guest {
    ct state established,related accept
    ip daddr @masqueraded drop
    ip6 daddr @masqueraded6 drop
    ip6 daddr != @guests6 drop
  }
)";

/// Only where a network has masquerade.
inline constexpr std::string_view kNatChain = R"(
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr . ip daddr @same_segment accept
    ip6 saddr . ip6 daddr @same_segment6 accept
    ip saddr @masqueraded oifname != @guest_links masquerade
    ip6 saddr @masqueraded6 oifname != @guest_links masquerade
  }
)";

/// What the links' own chains share, in the table of family netdev.
inline constexpr std::string_view kLinkChains = R"(
  # From a tap with its own address.
  chain from_tap_ip {
    udp sport 67 drop
    udp dport 68 drop
    accept
  }
  # A router's word in fragments is no better. Advertisements of its own addresses have passed.
  chain from_tap_ip6 {
    ip6 saddr fe80::/10 exthdr frag exists drop
    icmpv6 type { nd-router-advert, nd-redirect, nd-neighbor-advert } drop
    udp sport 547 drop
    udp dport 546 drop
    accept
  }
  # Each host is the gateway of its own machines, with one MAC and address: its voice, DHCP and
  # advertisements stay on the host.
  chain uplink {
    ether saddr & ff:ff:00:00:00:00 == 02:5e:00:00:00:00 drop
    meta protocol ip udp dport { 67, 68 } drop
    icmpv6 type { nd-router-advert, nd-router-solicit, nd-redirect } drop
  }
)";

} // namespace sky::net
