// SPDX-License-Identifier: MIT
#pragma once
// Debian 12 has Catch2 2.13, nixpkgs 3: the tests include this file and nothing of Catch2's own.
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
using Catch::Matchers::ContainsSubstring;
#else
#include <catch2/catch.hpp>
inline auto ContainsSubstring(const std::string& text) {
    return Catch::Matchers::Contains(text);
}
#endif
