// SPDX-License-Identifier: MIT
#pragma once

#include <sky/nar.hpp>
#include <sky/narinfo.hpp>
#include <sky/record.hpp>

#include <functional>
#include <map>
#include <optional>
#include <string>

namespace sky::cache {

/// Narinfos by path.
using Closure = std::map<StorePath, NarInfo>;
using Lookup = std::function<std::optional<NarInfo>(const StorePath&)>;

/// More paths than this are no deployment.
inline constexpr std::size_t kPathsMost = 50'000;
inline constexpr std::size_t kReferencesMost = 300'000; ///< of all its paths; keeps records small

/// Everything that `top` refers to, with itself. Throws Error(kData) naming the first path that
/// `lookup` does not know, Error(kRefused) if the NARs together are larger than `most` bytes.
[[nodiscard]] Closure collect(const StorePath& top, const Lookup& lookup, std::uint64_t most);

/// manifest.json at the top of a NAR, as compact JSON. Throws Error(kData): not there, not a
/// regular file, too large, not one JSON object without duplicate keys.
[[nodiscard]] std::string manifest_of(const Source& nar);

/// The closure as a record has it.
[[nodiscard]] std::vector<RecordPath> record_paths(const Closure& closure);

} // namespace sky::cache
