// SPDX-License-Identifier: MIT
#include <sky-net-setup/plan.hpp>

#include <fmt/format.h>

#include <algorithm>

namespace sky::net {

std::string bridge_name(const std::string& prefix, const Network& network,
                        std::uint32_t tenant_index, const Subnet& subnet, bool shared) {
    return fmt::format("{}b{}", prefix,
                       network.str() == "default" && !shared ? tenant_index : subnet.base.value);
}

std::string tap_name(const std::string& prefix, std::uint32_t index, std::size_t k) {
    return fmt::format("{}t{}x{}", prefix, index, k);
}

std::string vxlan_name(const std::string& prefix, std::int64_t vni) {
    return fmt::format("{}x{}", prefix, vni);
}

std::string switch_name(const std::string& prefix, std::string_view trunk) {
    std::uint32_t hash = 2166136261U; // FNV-1a
    for (const char c : trunk) {
        hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
    }
    return fmt::format("{}w{}", prefix, hash);
}

namespace {

/// Drops leading digits; false when there are none.
bool eat_digits(std::string_view& text) noexcept {
    const auto count = std::min(text.find_first_not_of("0123456789"), text.size());
    text.remove_prefix(count);
    return count > 0;
}

} // namespace

LinkKind kind_of_link(std::string_view name, std::string_view prefix) noexcept {
    if (name.size() > 15 || !name.starts_with(prefix) || name.size() == prefix.size()) {
        return LinkKind::kNone;
    }
    const char letter = name[prefix.size()];
    name.remove_prefix(prefix.size() + 1);
    if (!eat_digits(name)) {
        return LinkKind::kNone;
    }
    if (name.empty()) {
        return letter == 'b'   ? LinkKind::kBridge
               : letter == 'x' ? LinkKind::kVxlan
               : letter == 'w' ? LinkKind::kSwitch
                               : LinkKind::kNone;
    }
    if (letter == 't' && name.starts_with('x')) {
        name.remove_prefix(1);
        return eat_digits(name) && name.empty() ? LinkKind::kTap : LinkKind::kNone;
    }
    return LinkKind::kNone;
}

bool is_any_bridge(std::string_view name) noexcept {
    const auto letters = name.find_first_not_of("abcdefghijklmnopqrstuvwxyz");
    return letters != std::string_view::npos && letters >= 2 && letters <= 5 &&
           kind_of_link(name, name.substr(0, letters - 1)) == LinkKind::kBridge;
}

} // namespace sky::net
