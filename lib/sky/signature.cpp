// SPDX-License-Identifier: MIT
#include <sky/signature.hpp>

#include <sky/base64.hpp>
#include <sky/error.hpp>

#include <optional>
#include <sodium.h>
#include <span>
#include <utility>

namespace sky {
namespace {

void initialise() {
    if (sodium_init() < 0) { // safe to repeat
        fail(ExitCode::kSystem, "cannot initialise libsodium");
    }
}

std::string text_of(std::span<const unsigned char> bytes) {
    return base64({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

/// Splits "NAME:BASE64" and decodes exactly out.size() bytes; the name if it is well-formed.
std::optional<std::string> decode(std::string_view text, std::span<unsigned char> out) {
    const auto colon = text.find(':');
    if (colon == std::string_view::npos || colon == 0) {
        return std::nullopt;
    }
    const auto data = text.substr(colon + 1);
    std::size_t size = 0;
    const char* end = nullptr;
    if (sodium_base642bin(out.data(), out.size(), data.data(), data.size(), nullptr, &size, &end,
                          sodium_base64_VARIANT_ORIGINAL) != 0 ||
        size != out.size() || end != data.data() + data.size()) {
        return std::nullopt;
    }
    return std::string(text.substr(0, colon));
}

const unsigned char* bytes(std::string_view text) {
    return reinterpret_cast<const unsigned char*>(text.data());
}

} // namespace

SigningKey SigningKey::generate(const std::string& name) {
    initialise();
    SigningKey key;
    key.name_ = name;
    std::array<unsigned char, crypto_sign_PUBLICKEYBYTES> unused{};
    crypto_sign_keypair(unused.data(), key.secret_.data());
    return key;
}

SigningKey SigningKey::parse(std::string_view text) {
    initialise();
    while (text.ends_with('\n')) {
        text.remove_suffix(1);
    }
    SigningKey key;
    auto name = decode(text, key.secret_);
    if (!name) {
        fail(ExitCode::kConfig, "not a signing key (NAME:BASE64)");
    }
    key.name_ = std::move(*name);
    return key;
}

SigningKey::~SigningKey() {
    sodium_memzero(secret_.data(), secret_.size());
}

std::string SigningKey::secret_text() const {
    return name_ + ":" + text_of(secret_);
}

std::string SigningKey::public_text() const {
    std::array<unsigned char, crypto_sign_PUBLICKEYBYTES> half{};
    crypto_sign_ed25519_sk_to_pk(half.data(), secret_.data());
    return name_ + ":" + text_of(half);
}

std::string SigningKey::sign(std::string_view message) const {
    std::array<unsigned char, crypto_sign_BYTES> signature{};
    crypto_sign_detached(signature.data(), nullptr, bytes(message), message.size(), secret_.data());
    return name_ + ":" + text_of(signature);
}

bool verify_signature(std::string_view public_text, std::string_view message,
                      std::string_view signature) {
    initialise();
    std::array<unsigned char, crypto_sign_PUBLICKEYBYTES> key{};
    std::array<unsigned char, crypto_sign_BYTES> detached{};
    const auto name = decode(public_text, key);
    return name && decode(signature, detached) == name &&
           crypto_sign_verify_detached(detached.data(), bytes(message), message.size(),
                                       key.data()) == 0;
}

} // namespace sky
