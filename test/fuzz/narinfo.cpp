// SPDX-License-Identifier: MIT
#include <sky/error.hpp>
#include <sky/narinfo.hpp>

#include <cstddef>
#include <cstdint>

// What is accepted is canonical: printed again it is the same text.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(data, data + size);
    std::string again;
    try {
        again = sky::print_narinfo(sky::parse_narinfo(text));
    } catch (const sky::Error& e) {
        if (e.code() != sky::ExitCode::kData) {
            __builtin_trap();
        }
        return 0;
    }
    if (again != text) {
        __builtin_trap();
    }
    return 0;
}
