// SPDX-License-Identifier: MIT
#pragma once

#include <sky/store-path.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sky {

/// What stands in HASH.narinfo: doc/interfaces.md "Outbox". `compressed` is there in a cache and
/// not in an outbox.
struct NarInfo {
    struct Compressed {
        Sha256 hash; ///< of the file
        std::uint64_t size;
        friend bool operator==(const Compressed&, const Compressed&) = default;
    };

    StorePath path;
    std::optional<Compressed> compressed; ///< zstd; otherwise the NAR lies there as it is
    Sha256 nar_hash{};
    std::uint64_t nar_size = 0;
    std::vector<StorePath> references; ///< sorted, no duplicates
    std::optional<std::string> signature;

    /// Where the NAR lies, relative to the narinfo: nar/FILEHASH.nar.zst, or nar/HASH.nar.
    [[nodiscard]] std::string url() const;
    /// What is signed: "1;PATH;NARHASH;NARSIZE;REF,REF".
    [[nodiscard]] std::string fingerprint() const;
    friend bool operator==(const NarInfo&, const NarInfo&) = default;
};

inline constexpr std::size_t kNarInfoCap = std::size_t{1} << 20;

/// Strict: these keys, in this order, nothing else. Throws Error(kData) naming the key.
[[nodiscard]] NarInfo parse_narinfo(std::string_view text);
/// The reverse: print_narinfo(parse_narinfo(text)) == text.
[[nodiscard]] std::string print_narinfo(const NarInfo& info);

} // namespace sky
