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
    iifname . ip daddr @gateways meta l4proto { tcp, udp } th dport 53 accept
    iifname . ip6 daddr @gateways6 meta l4proto { tcp, udp } th dport 53 accept
    drop
  }
  chain input {
    type filter hook input priority filter; policy accept;
    iifname @guest_links jump from_guest
    udp dport @vxlan_ports ip saddr != @nodes4 drop
    udp dport @vxlan_ports ip6 saddr != @nodes6 drop
  }

  # Out to the world, not to other tenants or into the cluster, but for answers. Between machines of
  # one routed segment, wherever they are. The pair is for bridged packets that come by here where
  # br_netfilter is on.
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname . oifname @same_bridge accept
    ip saddr . ip daddr @same_segment accept
    ip6 saddr . ip6 daddr @same_segment6 accept
    iifname @guest_links jump out_of_guest
    oifname @guest_links jump to_guest
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
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr . ip daddr @same_segment accept
    ip6 saddr . ip6 daddr @same_segment6 accept
    ip saddr @masqueraded oifname != @guest_links masquerade
    ip6 saddr @masqueraded6 oifname != @guest_links masquerade
  }
)";

/// What a tap may say beyond ARP, in a table of family bridge or inet that has the tap's sets.
inline constexpr std::string_view kTapChains = R"(
  chain from_tap_ip {
    ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept
    iifname . ip saddr != @addresses drop
    udp sport 67 drop
    udp dport 68 drop
    accept
  }
  # The target of a solicitation for duplicates and of an advertisement is the sender's own address.
  # A router's word in fragments is no better.
  chain from_tap_ip6 {
    ip6 saddr :: icmpv6 type nd-neighbor-solicit iifname . @th,64,128 @targets accept
    iifname . ip6 saddr != @addresses6 drop
    ip6 saddr fe80::/10 exthdr frag exists drop
    icmpv6 type { nd-router-advert, nd-redirect } drop
    icmpv6 type nd-neighbor-advert iifname . @th,64,128 != @targets drop
    udp sport 547 drop
    udp dport 546 drop
    accept
  }
)";

/// Taps that are no ports of a bridge. A forgotten one is in no set, and mute.
inline constexpr std::string_view kRoutedChains = R"(
  chain from_tap {
    iifname . ether saddr != @macs drop
    meta nfproto vmap { ipv4 : jump from_tap_ip, ipv6 : jump from_tap_ip6 }
    drop
  }
  chain prerouting {
    type filter hook prerouting priority raw; policy accept;
    iifname @taps jump from_tap
  }
)";

inline constexpr std::string_view kArpChains = R"(
  chain input {
    type filter hook input priority filter; policy accept;
    iifname @taps jump from_tap_arp
  }
)";
inline constexpr std::string_view kTapArpChain = R"(
  chain from_tap_arp {
    arp htype 1 arp ptype ip iifname . arp saddr ether . arp saddr ip @arp_senders accept
    drop
  }
)";

inline constexpr std::string_view kBridgeChains = R"(
  # Each frame is looked up by its port: the cost does not grow with the number of ports.
  # `ether type` sees VLAN tags too, those that the device took off included.
  chain from_tap {
    iifname . ether saddr != @macs drop
    ether type vmap { ip : jump from_tap_ip, ip6 : jump from_tap_ip6, arp : jump from_tap_arp }
    drop
  }
  # Each host is the gateway of its own machines, with one MAC and address: its voice, DHCP and
  # advertisements stay on the host.
  chain uplink {
    ether saddr & ff:ff:00:00:00:00 == 02:5e:00:00:00:00 drop
    meta protocol ip udp dport { 67, 68 } drop
    icmpv6 type { nd-router-advert, nd-router-solicit, nd-redirect } drop
  }
  # Most frames, at the cost of one look: what from_tap would take after several. A tagged frame has
  # another `ether type`. (Of two != in a row nft 1.0 would make one.)
  chain prerouting {
    type filter hook prerouting priority -300; policy accept;
    ether type ip meta l4proto tcp iifname . ether saddr . ip saddr @senders accept
    ether type ip udp sport > 68 udp dport > 68 iifname . ether saddr . ip saddr @senders accept
    iifname @taps jump from_tap
    iifname @uplinks jump uplink
  }
  chain postrouting {
    type filter hook postrouting priority 0; policy accept;
    oifname @uplinks jump uplink
  }
  # Link-local groups (LLDP, pause) do not pass prerouting.
  chain input {
    type filter hook input priority -300; policy accept;
    iifname @taps ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 drop
  }
)";

} // namespace sky::net
