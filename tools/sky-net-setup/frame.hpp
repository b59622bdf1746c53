// SPDX-License-Identifier: MIT
#pragma once

#include <sky-net-setup/address.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace sky::net {

/// An Ethernet frame without its checksum.
using Frame = std::vector<std::uint8_t>;

/// Who is at a port, and whom it speaks to.
struct Speaker {
    std::string mac;
    Ipv4 address;
    std::string ipv6;       ///< global; or empty
    std::string ipv6_local; ///< or empty
};

/// "ADDRESS is at MAC", said by that MAC to all.
[[nodiscard]] Frame gratuitous_arp(const std::string& mac, Ipv4 address);
/// What a machine says before anybody can reach it: an ARP request for `gateway`, or a neighbour
/// solicitation for `gateway6`.
[[nodiscard]] Frame arp_request(const std::string& mac, Ipv4 address, Ipv4 gateway);
[[nodiscard]] Frame solicitation(const std::string& mac, const std::string& address,
                                 const std::string& gateway);
/// The same frame with an 802.1Q tag.
[[nodiscard]] Frame tagged(const Frame& frame, std::uint16_t vlan);

/// A frame that a machine sends, honest or not.
struct Forgery {
    std::string name; ///< "source address", for people
    bool honest = false;
    bool routed = false; ///< whether it is heard where a router is between
    Frame frame;         ///< holds mark_of() its number
};
/// What frame `number` of the list holds, and is known by wherever it comes out.
[[nodiscard]] std::string mark_of(std::size_t number);

/// Every kind of frame that `from` must not be heard with by `to`, and those that it must. `next`:
/// the MAC that IP packets go to, the gateway's where they are routed, else that of `to`.
[[nodiscard]] std::vector<Forgery> forgeries(const Speaker& from, const Speaker& to,
                                             const std::string& next);

} // namespace sky::net
