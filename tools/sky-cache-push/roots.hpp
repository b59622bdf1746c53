// SPDX-License-Identifier: MIT
#pragma once

#include <sky/name.hpp>
#include <sky/state.hpp>
#include <sky/store-path.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace sky::cache {

/// A deployment that was pushed, or is being pushed.
struct Root {
    Revision rev;
    StorePath deployment;
    std::int64_t at = 0; ///< seconds since 1970
    friend bool operator==(const Root&, const Root&) = default;
};

/// gcroots/T/R/M: what was pushed for a machine, newest first. At most kRootsMost; the garbage
/// collector decides which of them count.
using Roots = std::vector<Root>;
inline constexpr std::size_t kRootsMost = 256;

/// Throws Error(kData) naming the key.
[[nodiscard]] Roots parse_roots(std::string_view text);
[[nodiscard]] std::string print_roots(const Roots& roots);

/// `roots` with `root` at the front; an older entry of the same revision goes.
[[nodiscard]] Roots with_root(Roots roots, Root root);

/// None if there is no file.
[[nodiscard]] Roots load_roots(const std::filesystem::path& file);
void save_roots(const std::filesystem::path& file, const Roots& roots);

} // namespace sky::cache
