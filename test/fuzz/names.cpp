// SPDX-License-Identifier: MIT
#include <sky/error.hpp>
#include <sky/name.hpp>
#include <sky/store-path.hpp>

#include <cstddef>
#include <cstdint>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(data, data + size);
    try {
        const auto path = sky::MachinePath::parse_joined(text);
        if (path.joined() != text) {
            __builtin_trap();
        }
    } catch (const sky::Error&) {
    }
    try {
        const auto path = sky::StorePath::parse(text);
        if (path.str() != text || "/nix/store/" + path.base() != text) {
            __builtin_trap();
        }
    } catch (const sky::Error&) {
    }
    try {
        if (sky::nar_hash_text(sky::parse_nar_hash(text)) != text) {
            __builtin_trap();
        }
    } catch (const sky::Error&) {
    }
    return 0;
}
