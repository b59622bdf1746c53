// SPDX-License-Identifier: MIT
#include <sky-net-setup/firewall.hpp>
#include <sky/error.hpp>
#include <sky/freed.hpp>
#include <sky/name.hpp>

#include <memory>
#include <new>
#include <nftables/libnftables.h>

namespace sky::net {

void load_rules(const std::string& commands) {
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
