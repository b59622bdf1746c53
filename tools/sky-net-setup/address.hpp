// SPDX-License-Identifier: MIT
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sky::net {

/// An IPv4 address, host byte order.
struct Ipv4 {
    std::uint32_t value = 0;
    /// Dotted quad, strictly. Throws Error(kData).
    [[nodiscard]] static Ipv4 parse(std::string_view text);
    [[nodiscard]] std::string str() const;
    friend auto operator<=>(const Ipv4&, const Ipv4&) = default;
};

/// An IPv4 subnet whose host bits are zero.
struct Subnet {
    Ipv4 base;
    std::uint32_t prefix = 0; ///< 0..32
    /// "10.88.1.0/24". Throws Error(kData), for host bits too.
    [[nodiscard]] static Subnet parse(std::string_view text);
    [[nodiscard]] std::string str() const;
    [[nodiscard]] std::string netmask() const;
    [[nodiscard]] bool contains(Ipv4 address) const noexcept;
    [[nodiscard]] bool overlaps(const Subnet& other) const noexcept;
    /// The first address: the host's own on this subnet.
    [[nodiscard]] Ipv4 gateway() const noexcept { return {base.value + 1}; }
    friend auto operator<=>(const Subnet&, const Subnet&) = default;
};

/// 4 or 6 for an address or a CIDR ("::/0") in canonical digits, else 0. What it accepts holds
/// nothing but hex digits, dots, colons and one slash.
[[nodiscard]] int family_of(std::string_view address) noexcept;
[[nodiscard]] int family_of_cidr(std::string_view cidr) noexcept;

/// The first address of /64 number `n` of an IPv6 network: ("fd00:88::/48", 7) is "fd00:88:0:7::".
/// Nothing if it has fewer. Throws Error(kData) for what is no network of at least one /64.
[[nodiscard]] std::optional<std::string> ipv6_subnet(std::string_view cidr, std::uint64_t n);
/// The address that a MAC gets in a /64 (modified EUI-64, RFC 4291): ("fe80::",
/// "02:5f:00:00:00:07") is "fe80::5f:ff:fe00:7".
[[nodiscard]] std::string ipv6_address(const std::string& subnet, std::string_view mac);
/// The gateway's link-local address, everywhere.
inline constexpr const char* kGatewayLocal = "fe80::1";
/// The first address of a /64: the gateway's.
[[nodiscard]] std::string ipv6_gateway(const std::string& subnet);
/// 32 hex digits, as nftables compares raw bytes.
[[nodiscard]] std::string ipv6_hex(const std::string& address);

/// Six lower-case hex bytes joined by colons.
[[nodiscard]] bool valid_mac(std::string_view text) noexcept;

} // namespace sky::net
