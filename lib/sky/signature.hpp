// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace sky {

/// An ed25519 key pair in nix's form: "NAME:BASE64" of the 64 bytes of seed and public key. The
/// bytes are wiped when it goes.
class SigningKey {
  public:
    /// A new key. `name` is what signatures begin with; no ':' in it.
    [[nodiscard]] static SigningKey generate(const std::string& name);
    /// Throws Error(kConfig).
    [[nodiscard]] static SigningKey parse(std::string_view text);
    SigningKey(SigningKey&&) noexcept = default;
    SigningKey& operator=(SigningKey&&) = delete;
    ~SigningKey();

    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    [[nodiscard]] std::string secret_text() const;
    /// "NAME:BASE64" of the public key: what trusted-public-keys wants.
    [[nodiscard]] std::string public_text() const;
    /// "NAME:BASE64" of the detached signature.
    [[nodiscard]] std::string sign(std::string_view message) const;

  private:
    SigningKey() = default;
    std::string name_;
    std::array<unsigned char, 64> secret_{};
};

/// True if `signature` ("NAME:BASE64") is the one of `public_text`'s key over `message`. Malformed
/// text is false.
[[nodiscard]] bool verify_signature(std::string_view public_text, std::string_view message,
                                    std::string_view signature);

} // namespace sky
