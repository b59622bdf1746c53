// SPDX-License-Identifier: MIT
#pragma once

#include <sky/fd.hpp>

#include <filesystem>
#include <string>
#include <vector>

namespace sky {

struct FileWrite {
    std::filesystem::path path;
    std::string data;
    WriteOptions options{};
};

/// Several atomic_write()s that wait for the disk together, not each for itself: all files are on
/// it before the first has its name, then they get their names in this order. What dies in between
/// leaves each file as it was or as it is to be. Throws SysError; some files may be in place then.
void atomic_write_together(const std::vector<FileWrite>& files);

} // namespace sky
