// SPDX-License-Identifier: MIT
#include <sky-net-setup/announce.hpp>

#include <sky-net-setup/frame.hpp>
#include <sky/error.hpp>
#include <sky/log.hpp>

#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/socket.h>

namespace sky::net {

void announce(Links& links, const Bridge& bridge, const Port& port) {
    const auto link = links.find(bridge.uplink);
    if (!link || !link->up) {
        return;
    }
    const Fd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
    if (!socket) {
        fail_errno("cannot open a packet socket");
    }
    Frame frame = gratuitous_arp(port.mac, port.address);
    if (port.mode == Mode::kVlan) {
        frame = tagged(frame, static_cast<std::uint16_t>(port.id));
    }
    sockaddr_ll to{};
    to.sll_family = AF_PACKET;
    to.sll_ifindex = link->index;
    to.sll_halen = ETH_ALEN;
    std::memset(static_cast<void*>(to.sll_addr), 0xff, ETH_ALEN);
    if (::sendto(socket.get(), frame.data(), frame.size(), 0, reinterpret_cast<sockaddr*>(&to),
                 sizeof to) < 0) {
        log::warn("cannot announce {} on {}: {}", port.address.str(), bridge.uplink,
                  std::strerror(errno));
    }
}

} // namespace sky::net
