// SPDX-License-Identifier: MIT
#include <sky/hash.hpp>

#include <sodium.h>

namespace sky {

struct Hasher::State {
    crypto_hash_sha256_state sodium;
};

namespace {

// sodium accepts a null pointer only with length 0, and an empty view may hold one.
const unsigned char* bytes(std::string_view data) {
    return reinterpret_cast<const unsigned char*>(data.data());
}

} // namespace

Hasher::Hasher() : state_(std::make_unique<State>()) {
    crypto_hash_sha256_init(&state_->sodium);
}
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;
Hasher::~Hasher() = default;

void Hasher::update(std::string_view data) {
    if (!data.empty()) {
        crypto_hash_sha256_update(&state_->sodium, bytes(data), data.size());
        size_ += data.size();
    }
}

Sha256 Hasher::finish() {
    Sha256 hash{};
    crypto_hash_sha256_final(&state_->sodium, hash.data());
    return hash;
}

Sha256 sha256(std::string_view data) {
    Hasher hasher;
    hasher.update(data);
    return hasher.finish();
}

} // namespace sky
