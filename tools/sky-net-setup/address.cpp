// SPDX-License-Identifier: MIT
#include <sky-net-setup/address.hpp>

#include <sky/error.hpp>
#include <sky/name.hpp>

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <charconv>
#include <optional>

namespace sky::net {
namespace {

std::uint32_t mask_of(std::uint32_t prefix) {
    return prefix == 0 ? 0 : ~std::uint32_t{0} << (32U - prefix);
}

std::optional<std::uint32_t> number(std::string_view text, std::uint32_t most) {
    std::uint32_t value = 0;
    const char* last = text.data() + text.size();
    const auto [end, error] = std::from_chars(text.data(), last, value);
    if (text.empty() || error != std::errc{} || end != last || value > most) {
        return std::nullopt;
    }
    return value;
}

std::optional<Ipv4> try_ipv4(std::string_view text) {
    in_addr raw{};
    if (::inet_pton(AF_INET, std::string(text).c_str(), &raw) != 1) {
        return std::nullopt;
    }
    return Ipv4{ntohl(raw.s_addr)};
}

} // namespace

Ipv4 Ipv4::parse(std::string_view text) {
    if (const auto address = try_ipv4(text)) {
        return *address;
    }
    fail(ExitCode::kData, "'{}' is not an IPv4 address", printable(text));
}

std::string Ipv4::str() const {
    return fmt::format("{}.{}.{}.{}", value >> 24U, value >> 16U & 255U, value >> 8U & 255U,
                       value & 255U);
}

Subnet Subnet::parse(std::string_view text) {
    const auto slash = text.find('/');
    if (slash != std::string_view::npos) {
        const auto base = try_ipv4(text.substr(0, slash));
        const auto prefix = number(text.substr(slash + 1), 32);
        if (base && prefix && (base->value & ~mask_of(*prefix)) == 0) {
            return {*base, *prefix};
        }
    }
    fail(ExitCode::kData, "'{}' is not an IPv4 subnet (as in 10.88.1.0/24, host bits zero)",
         printable(text));
}

std::string Subnet::str() const {
    return fmt::format("{}/{}", base.str(), prefix);
}

std::string Subnet::netmask() const {
    return Ipv4{mask_of(prefix)}.str();
}

bool Subnet::contains(Ipv4 address) const noexcept {
    return (address.value & mask_of(prefix)) == base.value;
}

bool Subnet::overlaps(const Subnet& other) const noexcept {
    return contains(other.base) || other.contains(base);
}

int family_of(std::string_view address) noexcept {
    char text[INET6_ADDRSTRLEN] = {};
    in6_addr raw{};
    if (address.size() >= sizeof text || address.find('\0') != std::string_view::npos) {
        return 0;
    }
    address.copy(text, address.size());
    return ::inet_pton(AF_INET, text, &raw) == 1    ? 4
           : ::inet_pton(AF_INET6, text, &raw) == 1 ? 6
                                                    : 0;
}

int family_of_cidr(std::string_view cidr) noexcept {
    const auto slash = cidr.find('/');
    const int family = family_of(cidr.substr(0, slash));
    if (slash == std::string_view::npos || family == 0) {
        return family;
    }
    return number(cidr.substr(slash + 1), family == 4 ? 32 : 128) ? family : 0;
}

namespace {

using Raw6 = std::array<std::uint8_t, 16>;

Raw6 raw6(std::string_view text) {
    Raw6 raw{};
    if (::inet_pton(AF_INET6, std::string(text).c_str(), raw.data()) != 1) {
        fail(ExitCode::kData, "'{}' is not an IPv6 address", printable(text));
    }
    return raw;
}

std::string text6(const Raw6& raw) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    ::inet_ntop(AF_INET6, raw.data(), text.data(), text.size());
    return text.data();
}

} // namespace

std::optional<std::string> ipv6_subnet(std::string_view cidr, std::uint64_t n) {
    const auto slash = cidr.find('/');
    const auto prefix = number(slash == std::string_view::npos ? "" : cidr.substr(slash + 1), 64);
    if (!prefix || *prefix == 0) {
        fail(ExitCode::kData, "'{}' is not an IPv6 network of at most /64", printable(cidr));
    }
    if (*prefix > 0 && n >> (64U - *prefix) != 0) {
        return std::nullopt;
    }
    Raw6 raw = raw6(cidr.substr(0, slash));
    for (std::size_t i = 0; i < 8; ++i) {
        raw.at(7 - i) = static_cast<std::uint8_t>(raw.at(7 - i) | (n >> (8 * i) & 0xffU));
    }
    return text6(raw);
}

std::string ipv6_address(const std::string& subnet, std::string_view mac) {
    Raw6 raw = raw6(subnet);
    std::array<std::uint8_t, 6> m{};
    for (std::size_t i = 0; i < m.size(); ++i) {
        std::from_chars(mac.data() + 3 * i, mac.data() + 3 * i + 2, m.at(i), 16);
    }
    const std::array<std::uint8_t, 8> id{
        static_cast<std::uint8_t>(m[0] ^ 2U), m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]};
    std::copy(id.begin(), id.end(), raw.begin() + 8);
    return text6(raw);
}

std::string ipv6_gateway(const std::string& subnet) {
    Raw6 raw = raw6(subnet);
    raw[15] = 1;
    return text6(raw);
}

std::string ipv6_hex(const std::string& address) {
    std::string text;
    for (const std::uint8_t byte : raw6(address)) {
        text += fmt::format("{:02x}", byte);
    }
    return text;
}

bool valid_mac(std::string_view text) noexcept {
    if (text.size() != 17) {
        return false;
    }
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        const bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        if (i % 3 == 2 ? c != ':' : !hex) {
            return false;
        }
    }
    return true;
}

} // namespace sky::net
