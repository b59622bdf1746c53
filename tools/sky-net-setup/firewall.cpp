// SPDX-License-Identifier: MIT
#include <sky-net-setup/firewall.hpp>

#include <sky-net-setup/netlink.hpp>
#include <sky/error.hpp>
#include <sky/freed.hpp>
#include <sky/name.hpp>

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <memory>
#include <new>
#include <nftables/libnftables.h>
#include <string>
#include <vector>

namespace sky::net {
namespace {

using namespace nl;
using SocketPtr = std::unique_ptr<nl_sock, Freed<nl_socket_free>>;

SocketPtr netfilter() {
    SocketPtr socket = made(SocketPtr(nl_socket_alloc()));
    nl_socket_disable_auto_ack(socket.get());
    nl_socket_disable_seq_check(socket.get());
    check(nl_connect(socket.get(), NETLINK_NETFILTER), "ask", "nftables");
    return socket;
}

/// A message with its head; `family` and `resource` as the kernel's nfgenmsg has them.
MessagePtr message(nl_sock* socket, int type, int flags, int family, std::uint16_t resource) {
    MessagePtr result = made(MessagePtr(nlmsg_alloc_simple(type, NLM_F_REQUEST | flags)));
    nfgenmsg head{static_cast<std::uint8_t>(family), NFNETLINK_V0, htons(resource)};
    check(nlmsg_append(result.get(), &head, sizeof head, NLMSG_ALIGNTO), "ask", "nftables");
    nl_complete_msg(socket, result.get());
    return result;
}

MessagePtr about_chain(nl_sock* socket, int command, int family, const std::string& table,
                       const std::string& chain) {
    MessagePtr result =
        message(socket, (NFNL_SUBSYS_NFTABLES << 8) | command, NLM_F_ACK, family, 0);
    check(nla_put_string(result.get(), NFTA_CHAIN_TABLE, table.c_str()), "ask for", chain);
    check(nla_put_string(result.get(), NFTA_CHAIN_NAME, chain.c_str()), "ask for", chain);
    return result;
}

/// Sends them as one, and whether what they name is there.
bool done(nl_sock* socket, const std::vector<MessagePtr>& messages, const std::string& what) {
    std::string bytes;
    for (const MessagePtr& each : messages) {
        const nlmsghdr* head = nlmsg_hdr(each.get());
        bytes.append(reinterpret_cast<const char*>(head), head->nlmsg_len);
        bytes.resize(NLMSG_ALIGN(bytes.size()));
    }
    check(nl_sendto(socket, bytes.data(), bytes.size()), "ask for", what);
    const int result = nl_wait_for_ack(socket);
    if (result != -NLE_OBJ_NOTFOUND) {
        check(result, "change the rules of", what);
    }
    return result >= 0;
}

bool has_chain(int family, const std::string& table, const std::string& chain) {
    const SocketPtr socket = netfilter();
    std::vector<MessagePtr> messages;
    messages.push_back(about_chain(socket.get(), NFT_MSG_GETCHAIN, family, table, chain));
    return done(socket.get(), messages, chain);
}

/// One change, a transaction of its own. Nothing if what it names is not there.
void change(nl_sock* socket, MessagePtr what, const std::string& name) {
    std::vector<MessagePtr> batch;
    batch.push_back(message(socket, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
    batch.push_back(std::move(what));
    batch.push_back(message(socket, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
    static_cast<void>(done(socket, batch, name));
}

} // namespace

bool tables_stand(const std::string& prefix, const std::string& mark) {
    return has_chain(NFPROTO_INET, prefix, mark) &&
           has_chain(NFPROTO_NETDEV, prefix, "from_tap_ip");
}

void need_tables(const std::string& prefix, const std::string& mark) {
    if (!tables_stand(prefix, mark)) {
        fail(ExitCode::kSystem, "nftables has not the tables '{}' as the configuration wants them",
             prefix);
    }
}

void drop_chain(const std::string& prefix, const std::string& chain) {
    const SocketPtr socket = netfilter();
    change(socket.get(), about_chain(socket.get(), NFT_MSG_DELCHAIN, NFPROTO_NETDEV, prefix, chain),
           chain);
}

void drop_old_table(const std::string& prefix) {
    const SocketPtr socket = netfilter();
    MessagePtr drop = message(socket.get(), (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_DELTABLE,
                              NLM_F_ACK, NFPROTO_BRIDGE, 0);
    check(nla_put_string(drop.get(), NFTA_TABLE_NAME, prefix.c_str()), "drop", prefix);
    change(socket.get(), std::move(drop), prefix);
}

void load_rules(const std::string& commands) {
    if (commands.empty()) {
        return;
    }
    const std::unique_ptr<nft_ctx, Freed<nft_ctx_free>> nft(nft_ctx_new(NFT_CTX_DEFAULT));
    if (!nft || nft_ctx_buffer_output(nft.get()) != 0 || nft_ctx_buffer_error(nft.get()) != 0) {
        throw std::bad_alloc();
    }
    if (nft_run_cmd_from_buffer(nft.get(), commands.c_str()) != 0) {
        const char* text = nft_ctx_get_error_buffer(nft.get());
        fail(ExitCode::kSystem, "cannot load nftables rules: {}",
             printable(text != nullptr ? text : "", 200));
    }
}

} // namespace sky::net
