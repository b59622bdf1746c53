// SPDX-License-Identifier: MIT
// flake.lock and the inputs of a flake.nix: a tenant's text, before and after nix wrote in it.
#include <sky-build/lock-file.hpp>
#include <sky/error.hpp>

#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace sky::build;
    const std::string text(reinterpret_cast<const char*>(data), size);
    const std::set<std::string> known{"nixpkgs", "microvm"};
    try {
        static_cast<void>(taken_from_registry("", text, known));
        const auto inputs = sky::parse_json(text, kLockCap, "inputs");
        const auto replaced = replaceable(inputs, "", known);
        const std::string patched = with_originals(text, replaced);
        if (with_originals(patched, replaced) != patched ||
            root_inputs(patched) != root_inputs(text)) {
            std::abort();
        }
    } catch (const sky::Error&) { // what a wrong one is answered with
    }
    return 0;
}
