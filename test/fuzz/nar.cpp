// SPDX-License-Identifier: MIT
#include <sky/error.hpp>
#include <sky/nar.hpp>

#include <cstddef>
#include <cstdint>
#include <string>

// What is accepted is canonical: written again it is the same bytes.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(data, data + size);
    std::string again;
    try {
        sky::NarWriter writer([&](std::string_view piece) { again += piece; });
        sky::nar_parse(sky::string_source(text), writer);
        writer.finish();
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
