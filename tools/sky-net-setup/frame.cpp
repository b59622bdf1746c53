// SPDX-License-Identifier: MIT
#include <sky-net-setup/frame.hpp>

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <charconv>
#include <fmt/format.h>

namespace sky::net {
namespace {

constexpr std::uint16_t kIpv4 = 0x0800;
constexpr std::uint16_t kArp = 0x0806;
constexpr std::uint16_t kIpv6 = 0x86dd;
constexpr std::uint16_t kVlan = 0x8100;
constexpr std::uint8_t kUdp = 17;
constexpr std::uint8_t kIcmpv6 = 58;
constexpr const char* kBroadcast = "ff:ff:ff:ff:ff:ff";
constexpr const char* kStranger = "02:5f:00:ff:ff:fe"; ///< nobody's: no index is so high
constexpr const char* kAllNodes = "ff02::1";

void put(Frame& frame, std::uint64_t value, std::size_t bytes) {
    for (std::size_t i = bytes; i-- > 0;) {
        frame.push_back(static_cast<std::uint8_t>(value >> (8 * i) & 0xffU));
    }
}

void put(Frame& frame, std::string_view text) {
    frame.insert(frame.end(), text.begin(), text.end());
}

void put_mac(Frame& frame, std::string_view mac) {
    for (std::size_t i = 0; i < 6; ++i) {
        std::uint8_t byte = 0;
        std::from_chars(mac.data() + 3 * i, mac.data() + 3 * i + 2, byte, 16);
        frame.push_back(byte);
    }
}

void put_ipv6(Frame& frame, const std::string& address) {
    std::array<std::uint8_t, 16> raw{};
    ::inet_pton(AF_INET6, address.c_str(), raw.data());
    frame.insert(frame.end(), raw.begin(), raw.end());
}

/// The Internet checksum, RFC 1071, of a range.
std::uint16_t checksum(const Frame& bytes, std::size_t first, std::uint32_t sum = 0) {
    for (std::size_t i = first; i < bytes.size(); i += 2) {
        sum += static_cast<std::uint32_t>(bytes[i] << 8U);
        sum += i + 1 < bytes.size() ? bytes[i + 1] : 0U;
    }
    while (sum > 0xffffU) {
        sum = (sum & 0xffffU) + (sum >> 16U);
    }
    return static_cast<std::uint16_t>(~sum);
}

Frame ethernet(const std::string& to, const std::string& from, std::uint16_t type) {
    Frame frame;
    put_mac(frame, to);
    put_mac(frame, from);
    put(frame, type, 2);
    return frame;
}

struct Ends {
    std::string mac_from;
    std::string mac_to;
};

Frame udp4(const Ends& ends, Ipv4 from, Ipv4 to, std::uint16_t port_from, std::uint16_t port_to,
           const std::string& text) {
    Frame frame = ethernet(ends.mac_to, ends.mac_from, kIpv4);
    put(frame, 0x4500, 2);
    put(frame, static_cast<std::uint32_t>(28 + text.size()), 2);
    put(frame, 0, 4);
    put(frame, 64, 1);
    put(frame, kUdp, 1);
    Frame rest;
    put(rest, from.value, 4);
    put(rest, to.value, 4);
    Frame whole(frame.begin() + 14, frame.end());
    put(whole, 0, 2);
    whole.insert(whole.end(), rest.begin(), rest.end());
    put(frame, checksum(whole, 0), 2);
    frame.insert(frame.end(), rest.begin(), rest.end());
    put(frame, port_from, 2);
    put(frame, port_to, 2);
    put(frame, static_cast<std::uint32_t>(8 + text.size()), 2);
    put(frame, 0, 2); // no checksum
    put(frame, text);
    return frame;
}

Frame ip6(const Ends& ends, const std::string& from, const std::string& to, std::uint8_t next,
          const Frame& body) {
    Frame frame = ethernet(ends.mac_to, ends.mac_from, kIpv6);
    put(frame, 0x60000000, 4);
    put(frame, static_cast<std::uint32_t>(body.size()), 2);
    put(frame, next, 1);
    put(frame, 255, 1);
    put_ipv6(frame, from);
    put_ipv6(frame, to);
    Frame pseudo;
    put_ipv6(pseudo, from);
    put_ipv6(pseudo, to);
    put(pseudo, static_cast<std::uint32_t>(body.size()), 4);
    put(pseudo, next, 4);
    pseudo.insert(pseudo.end(), body.begin(), body.end());
    const std::uint16_t sum = checksum(pseudo, 0);
    const std::size_t at = frame.size() + (next == kUdp ? 6 : 2);
    frame.insert(frame.end(), body.begin(), body.end());
    frame.at(at) = static_cast<std::uint8_t>(sum >> 8U);
    frame.at(at + 1) = static_cast<std::uint8_t>(sum & 0xffU);
    return frame;
}

Frame udp6(const Ends& ends, const std::string& from, const std::string& to,
           std::uint16_t port_from, std::uint16_t port_to, const std::string& text) {
    Frame body;
    put(body, port_from, 2);
    put(body, port_to, 2);
    put(body, static_cast<std::uint32_t>(8 + text.size()), 2);
    put(body, 0, 2);
    put(body, text);
    return ip6(ends, from, to, kUdp, body);
}

/// An ICMPv6 message of neighbour discovery; the mark lies behind it as an option that nobody
/// knows.
Frame discovery(const Ends& ends, const std::string& from, const std::string& to, std::uint8_t type,
                std::uint32_t flags, const std::string& target, const std::string& text) {
    Frame body;
    put(body, type, 1);
    put(body, 0, 3);
    put(body, flags, 4);
    if (type == 134) { // a router's
        put(body, 0, 8);
    } else {
        put_ipv6(body, target);
    }
    if (type == 137) { // a redirect has a destination too
        put_ipv6(body, target);
    }
    Frame option;
    put(option, 253, 1);
    put(option, static_cast<std::uint32_t>((2 + text.size() + 7) / 8), 1);
    put(option, text);
    option.resize((option.size() + 7) / 8 * 8);
    body.insert(body.end(), option.begin(), option.end());
    return ip6(ends, from, to, kIcmpv6, body);
}

Frame arp(const Ends& ends, const std::string& sender_mac, Ipv4 sender, Ipv4 target,
          const std::string& text) {
    Frame frame = ethernet(ends.mac_to, ends.mac_from, kArp);
    put(frame, 1, 2);
    put(frame, kIpv4, 2);
    put(frame, 0x0604, 2);
    put(frame, 2, 2);
    put_mac(frame, sender_mac);
    put(frame, sender.value, 4);
    put_mac(frame, ends.mac_to);
    put(frame, target.value, 4);
    put(frame, text);
    return frame;
}

/// The list under construction.
class List {
  public:
    template <typename Make>
    void add(const char* name, bool honest, bool routed, Make&& make) {
        entries_.push_back({name, honest, routed, make(mark_of(entries_.size()))});
    }
    [[nodiscard]] std::vector<Forgery> take() { return std::move(entries_); }

  private:
    std::vector<Forgery> entries_;
};

void add_ipv4(List& list, const Speaker& from, const Speaker& to, const std::string& next) {
    const Ends ends{from.mac, next};
    const Ipv4 other{from.address.value ^ 0x40U};
    const auto udp = [&](const Ends& e, Ipv4 source, std::uint16_t out, std::uint16_t in) {
        return [&to, e, source, out, in](const std::string& text) {
            return udp4(e, source, to.address, out, in, text);
        };
    };
    list.add("IPv4", true, true, udp(ends, from.address, 4000, 4000));
    list.add("another MAC", false, false, udp({kStranger, next}, from.address, 4000, 4000));
    list.add("the other's MAC", false, false, udp({to.mac, next}, from.address, 4000, 4000));
    list.add("another IPv4 source", false, false, udp(ends, other, 4000, 4000));
    list.add("no IPv4 source", false, false, udp(ends, Ipv4{0}, 4000, 4000));
    list.add("DHCP server", false, false, udp(ends, from.address, 67, 68));
    list.add("to a DHCP client", false, false, udp(ends, from.address, 4000, 68));
    list.add("VLAN tag", false, false, [&](const std::string& text) {
        return tagged(udp4(ends, from.address, to.address, 4000, 4000, text), 5);
    });
    list.add("two VLAN tags", false, false, [&](const std::string& text) {
        return tagged(tagged(udp4(ends, from.address, to.address, 4000, 4000, text), 5), 6);
    });
    list.add("VLAN tag 0", false, false, [&](const std::string& text) {
        return tagged(udp4(ends, from.address, to.address, 4000, 4000, text), 0);
    });
    list.add("another protocol", false, false, [&](const std::string& text) {
        Frame frame = ethernet(to.mac, from.mac, 0x88b5); // for experiments
        put(frame, text);
        return frame;
    });
}

void add_arp(List& list, const Speaker& from, const Speaker& to) {
    const Ends ends{from.mac, to.mac};
    const Ipv4 other{from.address.value ^ 0x40U};
    list.add("ARP", true, false, [&](const std::string& text) {
        return arp(ends, from.mac, from.address, to.address, text);
    });
    list.add("ARP of another address", false, false,
             [&](const std::string& text) { return arp(ends, from.mac, other, to.address, text); });
    list.add("ARP of another MAC", false, false, [&](const std::string& text) {
        return arp(ends, kStranger, from.address, to.address, text);
    });
    list.add("ARP to all of the other's address", false, false, [&](const std::string& text) {
        return arp({from.mac, kBroadcast}, from.mac, to.address, to.address, text);
    });
}

void add_ipv6(List& list, const Speaker& from, const Speaker& to, const std::string& next) {
    const Ends ends{from.mac, next};
    const Ends group{from.mac, "33:33:00:00:00:01"};
    const std::string strange = ipv6_address("fe80::", kStranger);
    const auto nd = [&](const Ends& e, const std::string& source, const std::string& dest,
                        std::uint8_t type, std::uint32_t flags, const std::string& target) {
        return [=](const std::string& text) {
            return discovery(e, source, dest, type, flags, target, text);
        };
    };
    list.add("IPv6", true, true, [&](const std::string& text) {
        return udp6(ends, from.ipv6, to.ipv6, 4000, 4000, text);
    });
    list.add("another IPv6 source", false, false, [&](const std::string& text) {
        return udp6(ends, strange, to.ipv6, 4000, 4000, text);
    });
    list.add("IPv6 with another MAC", false, false, [&](const std::string& text) {
        return udp6({kStranger, next}, from.ipv6, to.ipv6, 4000, 4000, text);
    });
    list.add("DHCPv6 server", false, false, [&](const std::string& text) {
        return udp6(ends, from.ipv6, to.ipv6, 547, 546, text);
    });
    const Ends direct{from.mac, to.mac};
    list.add("ND advertisement", true, false,
             nd(direct, from.ipv6, to.ipv6, 136, 0x60000000, from.ipv6));
    list.add("ND advertisement of another's address", false, false,
             nd(direct, from.ipv6, to.ipv6, 136, 0x60000000, to.ipv6));
    list.add("ND advertisement to all", false, false,
             nd(group, from.ipv6_local, kAllNodes, 136, 0x20000000, strange));
    list.add("ND from another's address", false, false,
             nd(direct, strange, to.ipv6, 136, 0x60000000, strange));
    list.add("router advertisement", false, false,
             nd(group, from.ipv6_local, kAllNodes, 134, 0x40000708, ""));
    list.add("redirect", false, false, nd(direct, from.ipv6_local, to.ipv6, 137, 0, to.ipv6));
}

} // namespace

std::string mark_of(std::size_t number) {
    return fmt::format("sky-verify:{:04};", number);
}

Frame gratuitous_arp(const std::string& mac, Ipv4 address) {
    Frame frame = arp({mac, kBroadcast}, mac, address, address, "");
    frame.at(21) = 1; // a request: what everybody takes
    std::fill(frame.begin() + 32, frame.begin() + 38, std::uint8_t{0});
    return frame;
}

Frame arp_request(const std::string& mac, Ipv4 address, Ipv4 gateway) {
    Frame frame = arp({mac, kBroadcast}, mac, address, gateway, "");
    frame.at(21) = 1;
    return frame;
}

Frame solicitation(const std::string& mac, const std::string& address, const std::string& gateway) {
    Frame body;
    put(body, 135, 1);
    put(body, 0, 7);
    put_ipv6(body, gateway);
    put(body, 0x0101, 2); // the sender's MAC
    put_mac(body, mac);
    return ip6({mac, "33:33:ff:00:00:01"}, address, "ff02::1:ff00:1", kIcmpv6, body);
}

Frame tagged(const Frame& frame, std::uint16_t vlan) {
    Frame result(frame.begin(), frame.begin() + 12);
    put(result, kVlan, 2);
    put(result, vlan, 2);
    result.insert(result.end(), frame.begin() + 12, frame.end());
    return result;
}

std::vector<Forgery> forgeries(const Speaker& from, const Speaker& to, const std::string& next) {
    List list;
    add_ipv4(list, from, to, next);
    add_arp(list, from, to);
    if (!from.ipv6.empty() && !to.ipv6.empty()) {
        add_ipv6(list, from, to, next);
    }
    return list.take();
}

} // namespace sky::net
