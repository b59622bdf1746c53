// SPDX-License-Identifier: MIT
#pragma once

#include <sky-net-setup/address.hpp>
#include <sky/fd.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

struct nl_sock;

namespace sky::net {

/// Links and addresses of the network namespace in which it was made, by rtnetlink.
/// Every member throws Error(kSystem) with libnl's reason.
class Links {
  public:
    struct Link {
        std::string name;
        std::string type; ///< "bridge", "tun", ... or empty
        int index = 0;
        int master = 0;
        std::int64_t mtu = 0;
        bool up = false;
        bool carrier = false; ///< of a tap: somebody has a queue open
    };

    Links();
    Links(const Links&) = delete;
    Links& operator=(const Links&) = delete;
    ~Links();

    [[nodiscard]] std::vector<Link> all();
    [[nodiscard]] std::optional<Link> find(const std::string& name);
    /// Makes it or takes the one that is there (which must be a bridge); address and MTU follow.
    void ensure_bridge(const std::string& name, const std::string& mac, std::int64_t mtu);
    /// Adds an address unless it is there.
    void ensure_address(const std::string& name, Ipv4 address, std::uint32_t prefix);
    void set_mtu(const std::string& name, std::int64_t mtu);
    void set_up(const std::string& name);
    void enslave(const std::string& name, const std::string& bridge);
    /// Into another namespace under another name.
    void move(const std::string& name, const Fd& netns, const std::string& new_name);
    /// Nothing if there is no such link.
    void remove(const std::string& name);

  private:
    nl_sock* socket_ = nullptr;
};

} // namespace sky::net
