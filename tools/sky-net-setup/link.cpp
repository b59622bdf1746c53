// SPDX-License-Identifier: MIT
#include <sky-net-setup/link.hpp>

#include <sky-net-setup/netlink.hpp>

#include <array>
#include <linux/if_addr.h>
#include <net/if.h>

namespace sky::net {

using namespace nl;

namespace nl {

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

} // namespace nl

namespace {

Links::Link describe(rtnl_link* link) {
    const char* type = rtnl_link_get_type(link);
    const unsigned flags = rtnl_link_get_flags(link);
    std::array<char, 32> mac{};
    if (nl_addr* address = rtnl_link_get_addr(link); address != nullptr) {
        nl_addr2str(address, mac.data(), mac.size());
    }
    return {.name = rtnl_link_get_name(link),
            .mac = mac.data(),
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

std::optional<Links::Link> Links::with_address(const std::string& address) {
    nl_cache* raw = nullptr;
    check(rtnl_addr_alloc_cache(socket_, &raw), "list", "addresses");
    const CachePtr cache(raw);
    const AddrPtr wanted = address_of(address);
    for (nl_object* object = nl_cache_get_first(raw); object != nullptr;
         object = nl_cache_get_next(object)) {
        auto* entry = reinterpret_cast<rtnl_addr*>(object);
        nl_addr* local = rtnl_addr_get_local(entry);
        if (local == nullptr || !same_address(local, wanted.get())) {
            continue;
        }
        rtnl_link* link = nullptr;
        check(rtnl_link_get_kernel(socket_, rtnl_addr_get_ifindex(entry), nullptr, &link),
              "look up the link of", address);
        const LinkPtr owned(link);
        return describe(link);
    }
    return std::nullopt;
}

void Links::ensure(const std::string& name, const char* type, const std::string& mac,
                   std::int64_t mtu, const std::function<void(rtnl_link*)>& more) {
    const LinkPtr there = get(socket_, name);
    if (there && describe(there.get()).type != type) {
        fail(ExitCode::kSystem, "link '{}' is there and no {} (does another host use this prefix?)",
             name, type);
    }
    const LinkPtr wanted = new_link();
    rtnl_link_set_mtu(wanted.get(), static_cast<unsigned>(mtu));
    if (!mac.empty()) {
        rtnl_link_set_addr(wanted.get(), address_of(mac, AF_LLC).get());
    }
    if (there) {
        check(rtnl_link_change(socket_, there.get(), wanted.get(), 0), "configure", name);
        return;
    }
    rtnl_link_set_name(wanted.get(), name.c_str());
    check(rtnl_link_set_type(wanted.get(), type), "make", name);
    if (more) {
        more(wanted.get());
    }
    check(rtnl_link_add(socket_, wanted.get(), NLM_F_CREATE | NLM_F_EXCL), "make", name);
}

void Links::ensure_bridge(const std::string& name, const std::string& mac, std::int64_t mtu) {
    ensure(name, "bridge", mac, mtu);
}

void Links::ensure_address(const std::string& name, const std::string& address,
                           std::uint32_t prefix, bool alone) {
    const LinkPtr link = need(socket_, name);
    const AddrPtr local = address_of(address);
    nl_addr_set_prefixlen(local.get(), static_cast<int>(prefix));
    const RouteAddrPtr wanted = made(RouteAddrPtr(rtnl_addr_alloc()));
    rtnl_addr_set_ifindex(wanted.get(), rtnl_link_get_ifindex(link.get()));
    check(rtnl_addr_set_local(wanted.get(), local.get()), "set address of", name);
    if (nl_addr_get_family(local.get()) == AF_INET6) {
        // Other hosts have it too.
        rtnl_addr_set_flags(wanted.get(), IFA_F_NODAD | (alone ? IFA_F_NOPREFIXROUTE : 0U));
    }
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

void Links::set_group(const std::string& name, std::uint32_t group) {
    const LinkPtr wanted = new_link();
    rtnl_link_set_group(wanted.get(), group);
    check(rtnl_link_change(socket_, need(socket_, name).get(), wanted.get(), 0), "set the group of",
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
