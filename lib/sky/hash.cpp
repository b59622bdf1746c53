// SPDX-License-Identifier: MIT
#include <sky/hash.hpp>

#include <nettle/sha2.h>

namespace sky {

struct Hasher::State {
    sha256_ctx context;
};

Hasher::Hasher() : state_(std::make_unique<State>()) {
    sha256_init(&state_->context);
}
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;
Hasher::~Hasher() = default;

void Hasher::update(std::string_view data) {
    if (!data.empty()) { // an empty view may hold a null pointer
        sha256_update(&state_->context, data.size(),
                      reinterpret_cast<const std::uint8_t*>(data.data()));
        size_ += data.size();
    }
}

Sha256 Hasher::finish() {
    Sha256 hash{};
    sha256_digest(&state_->context, hash.size(), hash.data());
    return hash;
}

Sha256 sha256(std::string_view data) {
    Hasher hasher;
    hasher.update(data);
    return hasher.finish();
}

} // namespace sky
