// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

namespace sky {

/// A path directly below /nix/store: HASH-NAME. parse() is strict; nothing else makes one.
class StorePath {
  public:
    /// Throws Error(kData). Grammar: doc/interfaces.md, as nix's own checkName.
    [[nodiscard]] static StorePath parse(std::string_view text);
    /// From a base name, without /nix/store/.
    [[nodiscard]] static StorePath parse_base(std::string_view base);
    [[nodiscard]] const std::string& str() const noexcept {
        return text_;
    }                                       ///< /nix/store/HASH-NAME
    [[nodiscard]] std::string base() const; ///< HASH-NAME
    [[nodiscard]] std::string hash() const; ///< the 32 characters
    friend auto operator<=>(const StorePath&, const StorePath&) = default;

  private:
    explicit StorePath(std::string text) : text_(std::move(text)) {}
    std::string text_;
};

using Sha256 = std::array<std::uint8_t, 32>;

/// nix's base 32 (digits 0-9a-z without e o u t, most significant last byte first) of a hash.
[[nodiscard]] std::string nix32(const Sha256& hash);
/// "sha256:" + nix32.
[[nodiscard]] std::string nar_hash_text(const Sha256& hash);
/// The reverse of nar_hash_text. Throws Error(kData).
[[nodiscard]] Sha256 parse_nar_hash(std::string_view text);

} // namespace sky
