// SPDX-License-Identifier: MIT
#include <sky/error.hpp>
#include <sky/registry.hpp>

#include <cstddef>
#include <cstdint>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(data, data + size);
    try {
        const auto value = sky::Registry::parse(text);
        if (sky::Registry::parse(value.dump()) != value) {
            __builtin_trap();
        }
    } catch (const sky::Error&) {
    }
    return 0;
}
