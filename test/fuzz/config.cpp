// SPDX-License-Identifier: MIT
#include <sky/config.hpp>
#include <sky/error.hpp>

#include <cstddef>
#include <cstdint>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        const std::string text(data, data + size);
        static_cast<void>(sky::parse_config(text, "/fuzz.json"));
    } catch (const sky::Error& e) {
        if (e.code() != sky::ExitCode::kConfig) {
            __builtin_trap(); // a wrong configuration is always exit 78
        }
    }
    return 0;
}
