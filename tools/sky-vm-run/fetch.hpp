// SPDX-License-Identifier: MIT
#pragma once

#include <sky/record.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>

namespace sky::vm {

struct Fetched {
    std::size_t paths = 0;   ///< unpacked by this call
    std::uint64_t bytes = 0; ///< their NAR sizes together
};

/// Unpacks what `store` (STATE/store/T, root's) lacks of the record's closure from `cache`
/// (STATE/cache/T): each NAR is decompressed, checked against hash and size of the *record*, and
/// gets its name `store/HASH-NAME`, and after that its mark `store/.ok/HASH-NAME` (a link to the
/// NAR hash), only when all of them are whole and on disk. What has no mark with the record's hash
/// counts as missing. Names that begin with a dot are not store paths. Any number may run at once.
/// `progress` is called before each path with how many are done and how many there are to do.
/// Throws Error(kUnavailable) if the cache lacks a path, Error(kData) if one is not what the record
/// says, SysError.
Fetched fetch_closure(const Record& record, const std::filesystem::path& cache,
                      const std::filesystem::path& store,
                      const std::function<void(std::size_t done, std::size_t all)>& progress = {});

/// How many paths of the closure `store` does not have whole, and with the record's bytes.
[[nodiscard]] std::size_t lacking_of(const Record& record, const std::filesystem::path& store);

} // namespace sky::vm
