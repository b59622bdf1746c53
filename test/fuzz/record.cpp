// SPDX-License-Identifier: MIT
#include <sky/error.hpp>
#include <sky/record.hpp>

#include <cstddef>
#include <cstdint>

// A record that was read survives being printed.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(data, data + size);
    try {
        const auto record = sky::parse_record(text);
        const auto printed = sky::print_record(record);
        if (!(sky::parse_record(printed) == record) ||
            sky::print_record(sky::parse_record(printed)) != printed) {
            __builtin_trap();
        }
    } catch (const sky::Error& e) {
        if (e.code() != sky::ExitCode::kData) {
            __builtin_trap();
        }
    }
    return 0;
}
