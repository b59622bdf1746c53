// SPDX-License-Identifier: MIT
#pragma once

// libnl's objects for the files that implement Links.

#include <sky/error.hpp>
#include <sky/freed.hpp>

#include <cstring>
#include <memory>
#include <netlink/addr.h>
#include <netlink/cache.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <new>
#include <string>
#include <string_view>

namespace sky::net::nl {

using LinkPtr = std::unique_ptr<rtnl_link, Freed<rtnl_link_put>>;
using CachePtr = std::unique_ptr<nl_cache, Freed<nl_cache_free>>;
using AddrPtr = std::unique_ptr<nl_addr, Freed<nl_addr_put>>;
using RouteAddrPtr = std::unique_ptr<rtnl_addr, Freed<rtnl_addr_put>>;
using MessagePtr = std::unique_ptr<nl_msg, Freed<nlmsg_free>>;

/// Throws Error(kSystem) "cannot WHAT 'NAME': libnl's reason".
inline void check(int result, std::string_view what, const std::string& name) {
    if (result < 0) {
        fail(ExitCode::kSystem, "cannot {} '{}': {}", what, name, nl_geterror(result));
    }
}

template <typename T>
T made(T pointer) {
    if (!pointer) {
        throw std::bad_alloc();
    }
    return pointer;
}

inline LinkPtr new_link() {
    return made(LinkPtr(rtnl_link_alloc()));
}

/// An address as text, of any family; with /PREFIX if it has one.
inline AddrPtr address_of(const std::string& text, int family = AF_UNSPEC) {
    nl_addr* address = nullptr;
    check(nl_addr_parse(text.c_str(), family, &address), "parse address", text);
    return AddrPtr(address);
}

/// Prefix lengths do not count.
inline bool same_address(const nl_addr* one, const nl_addr* other) {
    return nl_addr_get_len(one) == nl_addr_get_len(other) &&
           std::memcmp(nl_addr_get_binary_addr(one), nl_addr_get_binary_addr(other),
                       nl_addr_get_len(one)) == 0;
}

/// nullptr if there is no such link.
[[nodiscard]] LinkPtr get(nl_sock* socket, const std::string& name);
/// Throws Error(kSystem) if there is none.
[[nodiscard]] LinkPtr need(nl_sock* socket, const std::string& name);

} // namespace sky::net::nl
