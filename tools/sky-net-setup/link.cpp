// SPDX-License-Identifier: MIT
#include <sky-net-setup/link.hpp>
#include <sky/error.hpp>
#include <sky/freed.hpp>

#include <arpa/inet.h>
#include <memory>
#include <net/if.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>

namespace sky::net {
namespace {

using LinkPtr = std::unique_ptr<rtnl_link, Freed<rtnl_link_put>>;
using CachePtr = std::unique_ptr<nl_cache, Freed<nl_cache_free>>;
using AddrPtr = std::unique_ptr<nl_addr, Freed<nl_addr_put>>;
using RouteAddrPtr = std::unique_ptr<rtnl_addr, Freed<rtnl_addr_put>>;

void check(int result, std::string_view what, const std::string& name) {
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

LinkPtr new_link() {
    return made(LinkPtr(rtnl_link_alloc()));
}

LinkPtr get(nl_sock* socket, const std::string& name) {
    rtnl_link* link = nullptr;
    const int result = rtnl_link_get_kernel(socket, 0, name.c_str(), &link);
    if (result == -NLE_NODEV || result == -NLE_OBJ_NOTFOUND) {
        return nullptr;
    }
    check(result, "look up link", name);
    return LinkPtr(link);
}

LinkPtr need(nl_sock* socket, const std::string& name) {
    LinkPtr link = get(socket, name);
    if (!link) {
        fail(ExitCode::kSystem, "no link '{}'", name);
    }
    return link;
}

AddrPtr mac_address(const std::string& mac) {
    nl_addr* address = nullptr;
    check(nl_addr_parse(mac.c_str(), AF_LLC, &address), "parse MAC", mac);
    return AddrPtr(address);
}

Links::Link describe(rtnl_link* link) {
    const char* type = rtnl_link_get_type(link);
    const unsigned flags = rtnl_link_get_flags(link);
    return {.name = rtnl_link_get_name(link),
            .type = type != nullptr ? type : "",
            .index = rtnl_link_get_ifindex(link),
            .master = rtnl_link_get_master(link),
            .mtu = rtnl_link_get_mtu(link),
            .up = (flags & IFF_UP) != 0,
            .carrier = rtnl_link_get_carrier(link) != 0};
}

} // namespace

Links::Links() : socket_(made(nl_socket_alloc())) {
    if (const int result = nl_connect(socket_, NETLINK_ROUTE); result < 0) {
        nl_socket_free(socket_);
        check(result, "open", "rtnetlink");
    }
}

Links::~Links() {
    nl_socket_free(socket_);
}

std::vector<Links::Link> Links::all() {
    nl_cache* raw = nullptr;
    check(rtnl_link_alloc_cache(socket_, AF_UNSPEC, &raw), "list", "links");
    const CachePtr cache(raw);
    std::vector<Link> result;
    for (nl_object* object = nl_cache_get_first(raw); object != nullptr;
         object = nl_cache_get_next(object)) {
        result.push_back(describe(reinterpret_cast<rtnl_link*>(object)));
    }
    return result;
}

std::optional<Links::Link> Links::find(const std::string& name) {
    const LinkPtr link = get(socket_, name);
    return link ? std::optional(describe(link.get())) : std::nullopt;
}

void Links::ensure_bridge(const std::string& name, const std::string& mac, std::int64_t mtu) {
    const LinkPtr there = get(socket_, name);
    const LinkPtr wanted = new_link();
    const AddrPtr address = mac_address(mac);
    rtnl_link_set_addr(wanted.get(), address.get());
    rtnl_link_set_mtu(wanted.get(), static_cast<unsigned>(mtu));
    if (!there) {
        rtnl_link_set_name(wanted.get(), name.c_str());
        check(rtnl_link_set_type(wanted.get(), "bridge"), "make bridge", name);
        check(rtnl_link_add(socket_, wanted.get(), NLM_F_CREATE | NLM_F_EXCL), "make bridge", name);
        return;
    }
    if (describe(there.get()).type != "bridge") {
        fail(ExitCode::kSystem,
             "link '{}' is there and no bridge (does another host use this prefix?)", name);
    }
    check(rtnl_link_change(socket_, there.get(), wanted.get(), 0), "configure bridge", name);
}

void Links::ensure_address(const std::string& name, Ipv4 address, std::uint32_t prefix) {
    const LinkPtr link = need(socket_, name);
    const std::uint32_t raw = htonl(address.value);
    const AddrPtr local = made(AddrPtr(nl_addr_build(AF_INET, &raw, sizeof raw)));
    nl_addr_set_prefixlen(local.get(), static_cast<int>(prefix));
    const RouteAddrPtr wanted = made(RouteAddrPtr(rtnl_addr_alloc()));
    rtnl_addr_set_ifindex(wanted.get(), rtnl_link_get_ifindex(link.get()));
    check(rtnl_addr_set_local(wanted.get(), local.get()), "set address of", name);
    const int result = rtnl_addr_add(socket_, wanted.get(), NLM_F_CREATE | NLM_F_EXCL);
    if (result != -NLE_EXIST) {
        check(result, "set address of", name);
    }
}

void Links::set_mtu(const std::string& name, std::int64_t mtu) {
    const LinkPtr wanted = new_link();
    rtnl_link_set_mtu(wanted.get(), static_cast<unsigned>(mtu));
    check(rtnl_link_change(socket_, need(socket_, name).get(), wanted.get(), 0), "set the MTU of",
          name);
}

void Links::set_up(const std::string& name) {
    const LinkPtr wanted = new_link();
    rtnl_link_set_flags(wanted.get(), IFF_UP);
    check(rtnl_link_change(socket_, need(socket_, name).get(), wanted.get(), 0), "bring up", name);
}

void Links::enslave(const std::string& name, const std::string& bridge) {
    const LinkPtr master = need(socket_, bridge);
    const LinkPtr wanted = new_link();
    rtnl_link_set_master(wanted.get(), rtnl_link_get_ifindex(master.get()));
    check(rtnl_link_change(socket_, need(socket_, name).get(), wanted.get(), 0), "attach", name);
}

void Links::move(const std::string& name, const Fd& netns, const std::string& new_name) {
    const LinkPtr wanted = new_link();
    rtnl_link_set_name(wanted.get(), new_name.c_str());
    rtnl_link_set_ns_fd(wanted.get(), netns.get());
    check(rtnl_link_change(socket_, need(socket_, name).get(), wanted.get(), 0), "move", name);
}

void Links::remove(const std::string& name) {
    if (const LinkPtr link = get(socket_, name)) {
        const int result = rtnl_link_delete(socket_, link.get());
        if (result != -NLE_NODEV && result != -NLE_OBJ_NOTFOUND) {
            check(result, "remove link", name);
        }
    }
}

} // namespace sky::net
