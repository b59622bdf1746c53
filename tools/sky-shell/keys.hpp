// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sky::shell {

/// A public key of a tenant, as a line of an authorized_keys file: "restrict TYPE BASE64 NAME".
struct NamedKey {
    std::string name; ///< [A-Za-z0-9][A-Za-z0-9@._-]{0,63}
    std::string type;
    std::string blob; ///< base64
    bool operator==(const NamedKey&) const = default;
};

/// Of a key's base64: "SHA256:...", as ssh-keygen -l has it. Empty: it is no base64.
[[nodiscard]] std::string fingerprint(std::string_view base64);

/// One public key as ssh-keygen writes it: "TYPE BASE64 [COMMENT]", one line, no options; it gets
/// `name`. Throws Error(kData) saying what is wrong with it.
[[nodiscard]] NamedKey parse_public_key(std::string_view text, std::string_view name);

/// The file of a tenant's keys: ours, so a line that is no key is Error(kData).
[[nodiscard]] std::vector<NamedKey> parse_keys(std::string_view text);
[[nodiscard]] std::string keys_text(const std::vector<NamedKey>& keys);

/// Adds it. Error(kData) when its name or the key itself is there already.
void add_key(std::vector<NamedKey>& keys, const NamedKey& key);
/// Removes it. Error(kRefused) when there is none of that name.
void remove_key(std::vector<NamedKey>& keys, std::string_view name);

} // namespace sky::shell
