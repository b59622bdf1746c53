// SPDX-License-Identifier: MIT
#include <sky/store-path.hpp>

#include <sky/error.hpp>
#include <sky/name.hpp>

#include <algorithm>

namespace sky {
namespace {

constexpr std::string_view kDirectory = "/nix/store/";
constexpr std::string_view kDigits = "0123456789abcdfghijklmnpqrsvwxyz"; // nix: no e o u t
constexpr std::size_t kHashLength = 32;
constexpr std::size_t kNameMost = 211;
constexpr std::size_t kSha256Length = 52;

bool name_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("+-._?=").find(c) != std::string_view::npos;
}

bool valid_base(std::string_view base) {
    if (base.size() < kHashLength + 2 || base.size() > kHashLength + 1 + kNameMost ||
        base[kHashLength] != '-' || base[kHashLength + 1] == '.') {
        return false;
    }
    const auto hash = base.substr(0, kHashLength);
    const auto name = base.substr(kHashLength + 1);
    return hash.find_first_not_of(kDigits) == std::string_view::npos &&
           std::all_of(name.begin(), name.end(), name_character);
}

} // namespace

StorePath StorePath::parse(std::string_view text) {
    if (!text.starts_with(kDirectory)) {
        fail(ExitCode::kData, "'{}' is not a store path", printable(text));
    }
    return parse_base(text.substr(kDirectory.size()));
}

StorePath StorePath::parse_base(std::string_view base) {
    if (!valid_base(base)) {
        fail(ExitCode::kData, "'{}' is not a store path", printable(base));
    }
    return StorePath(std::string(kDirectory) + std::string(base));
}

std::string StorePath::base() const {
    return text_.substr(kDirectory.size());
}
std::string StorePath::hash() const {
    return text_.substr(kDirectory.size(), kHashLength);
}

std::string nix32(const Sha256& hash) {
    std::string out;
    for (std::size_t n = kSha256Length; n-- > 0;) {
        const std::size_t bit = n * 5;
        const std::size_t byte = bit / 8;
        const std::size_t shift = bit % 8;
        unsigned value = static_cast<unsigned>(hash.at(byte)) >> shift;
        if (byte + 1 < hash.size()) {
            value |= static_cast<unsigned>(hash.at(byte + 1)) << (8 - shift);
        }
        out.push_back(kDigits[value & 31U]);
    }
    return out;
}

std::string nar_hash_text(const Sha256& hash) {
    return "sha256:" + nix32(hash);
}

Sha256 parse_nar_hash(std::string_view text) {
    constexpr std::string_view kPrefix = "sha256:";
    const auto digits = text.substr(std::min(text.size(), kPrefix.size()));
    Sha256 hash{};
    bool good = text.starts_with(kPrefix) && digits.size() == kSha256Length;
    for (std::size_t i = 0; good && i < digits.size(); ++i) {
        const auto value = kDigits.find(digits[digits.size() - 1 - i]);
        if (value == std::string_view::npos) {
            good = false;
            break;
        }
        const std::size_t byte = i * 5 / 8;
        const std::size_t shift = i * 5 % 8;
        const unsigned wide = static_cast<unsigned>(value) << shift;
        hash.at(byte) = static_cast<std::uint8_t>(hash.at(byte) | (wide & 0xffU));
        if (byte + 1 < hash.size()) {
            hash.at(byte + 1) = static_cast<std::uint8_t>(hash.at(byte + 1) | (wide >> 8U));
        } else if ((wide >> 8U) != 0) {
            good = false; // the last digit has one spare bit, which must be zero
        }
    }
    if (!good) {
        fail(ExitCode::kData, "'{}' is not a NAR hash (sha256: and 52 base-32 digits)",
             printable(text, 70));
    }
    return hash;
}

} // namespace sky
