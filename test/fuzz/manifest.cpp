// SPDX-License-Identifier: MIT
#include <sky-nomad-submit/manifest.hpp>
#include <sky/error.hpp>

#include <cstddef>
#include <cstdint>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(data, data + size);
    try {
        const auto manifest = sky::submit::Manifest::parse(text);
        if (manifest.interfaces.size() > sky::kInterfacesMax ||
            manifest.volumes.size() > sky::kVolumesMax || manifest.vcpu == 0 ||
            manifest.mem_mib == 0 || sky::submit::Manifest::parse(text) != manifest) {
            __builtin_trap();
        }
    } catch (const sky::Error&) {
    }
    return 0;
}
