// SPDX-License-Identifier: MIT
#include <sky-shell/keys.hpp>

#include <sky/error.hpp>
#include <sky/name.hpp>

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <optional>
#include <sodium.h>

namespace sky::shell {
namespace {

constexpr std::array<std::string_view, 8> kTypes{"ssh-ed25519",
                                                 "sk-ssh-ed25519@openssh.com",
                                                 "ecdsa-sha2-nistp256",
                                                 "ecdsa-sha2-nistp384",
                                                 "ecdsa-sha2-nistp521",
                                                 "sk-ecdsa-sha2-nistp256@openssh.com",
                                                 "ssh-rsa",
                                                 "rsa-sha2-512"};
constexpr std::size_t kMostBytes = 8192;
constexpr const char* kRestrict = "restrict ";

bool valid_name(std::string_view name) {
    const auto plain = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    };
    return !name.empty() && name.size() <= 64 && plain(name.front()) &&
           std::all_of(name.begin(), name.end(), [&](char c) {
               return plain(c) || std::string_view("@._-").find(c) != std::string_view::npos;
           });
}

std::optional<std::vector<unsigned char>> decode(std::string_view base64) {
    if (base64.empty()) {
        return std::nullopt;
    }
    std::vector<unsigned char> blob(base64.size());
    std::size_t size = 0;
    const char* end = nullptr;
    if (sodium_base642bin(blob.data(), blob.size(), base64.data(), base64.size(), nullptr, &size,
                          &end, sodium_base64_VARIANT_ORIGINAL) != 0 ||
        end != base64.data() + base64.size()) {
        return std::nullopt;
    }
    blob.resize(size);
    return blob;
}

/// A key's bytes begin with its type: a length of four bytes, then the text.
bool says_type(const std::vector<unsigned char>& blob, std::string_view type) {
    return blob.size() > type.size() + 4 && blob[0] == 0 && blob[1] == 0 && blob[2] == 0 &&
           blob[3] == type.size() && std::equal(type.begin(), type.end(), blob.begin() + 4);
}

std::string_view word(std::string_view& text) {
    const auto first = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(first.size() + 1, text.size()));
    return first;
}

} // namespace

std::string fingerprint(std::string_view base64) {
    const auto blob = decode(base64);
    if (!blob) {
        return {};
    }
    std::array<unsigned char, crypto_hash_sha256_BYTES> hash{};
    crypto_hash_sha256(hash.data(), blob->data(), blob->size());
    std::array<char, 64> text{};
    sodium_bin2base64(text.data(), text.size(), hash.data(), hash.size(),
                      sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
    return fmt::format("SHA256:{}", text.data());
}

NamedKey parse_public_key(std::string_view text, std::string_view name) {
    if (!valid_name(name)) {
        fail(ExitCode::kData,
             "'{}' will not do as a key's name (letters, digits and @._-, at most "
             "64)",
             printable(name));
    }
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) {
        text.remove_suffix(1);
    }
    if (text.size() > kMostBytes || text.find('\n') != std::string_view::npos) {
        fail(ExitCode::kData, "key '{}': not one public key (give the line of one .pub file)",
             name);
    }
    const auto type = word(text);
    const auto base64 = word(text);
    if (std::find(kTypes.begin(), kTypes.end(), type) == kTypes.end()) {
        fail(ExitCode::kData,
             "key '{}': does not begin with a type of key that sshd takes (a public key is a line "
             "'ssh-ed25519 AAAA...', without options)",
             name);
    }
    const auto blob = decode(base64);
    if (!blob || !says_type(*blob, type)) {
        fail(ExitCode::kData, "key '{}': damaged (copy the line of the .pub file again)", name);
    }
    return {std::string(name), std::string(type), std::string(base64)};
}

std::vector<NamedKey> parse_keys(std::string_view text) {
    std::vector<NamedKey> keys;
    while (!text.empty()) {
        auto line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(line.size() + 1, text.size()));
        if (!line.starts_with(kRestrict)) {
            fail(ExitCode::kData, "a line of the tenant's keys does not begin with 'restrict' "
                                  "(take it out, and add the key again)");
        }
        line.remove_prefix(std::string_view(kRestrict).size());
        const auto name = line.substr(line.rfind(' ') + 1);
        keys.push_back(parse_public_key(line, name));
    }
    return keys;
}

std::string keys_text(const std::vector<NamedKey>& keys) {
    std::string text;
    for (const auto& key : keys) {
        text += fmt::format("{}{} {} {}\n", kRestrict, key.type, key.blob, key.name);
    }
    return text;
}

void add_key(std::vector<NamedKey>& keys, const NamedKey& key) {
    for (const auto& other : keys) {
        if (other.name == key.name) {
            fail(ExitCode::kData, "there is a key '{}' already (remove it, or take another name)",
                 key.name);
        }
        if (other.blob == key.blob) {
            fail(ExitCode::kData, "that key is there already, as '{}'", other.name);
        }
    }
    keys.push_back(key);
}

void remove_key(std::vector<NamedKey>& keys, std::string_view name) {
    const auto at =
        std::find_if(keys.begin(), keys.end(), [&](const auto& key) { return key.name == name; });
    if (at == keys.end()) {
        fail(ExitCode::kRefused, "no key '{}' (see 'tenant key list')", printable(name));
    }
    keys.erase(at);
}

} // namespace sky::shell
