// SPDX-License-Identifier: MIT
#pragma once

#include <sky/fd.hpp>

#include <fcntl.h>
#include <filesystem>
#include <string>
#include <string_view>

namespace sky::net {

/// Sets /proc/sys/net/FAMILY/TABLE/LINK/KEY in the namespace we are in. Nothing if the kernel has
/// not got it.
inline void set_link_sysctl(std::string_view family, const std::string& link, std::string_view key,
                            std::string_view value, std::string_view table = "conf") {
    const auto file = std::filesystem::path("/proc/sys/net") / family / table / link / key;
    if (std::filesystem::exists(file)) {
        write_all(open_file(file, O_WRONLY).get(), value);
    }
}

} // namespace sky::net
