// SPDX-License-Identifier: MIT
#pragma once

#include <sky/store-path.hpp>

#include <cstdint>
#include <memory>
#include <string_view>

namespace sky {

/// SHA-256 of a stream (nettle, which uses the processor's own instructions), and how long it was.
class Hasher {
  public:
    Hasher();
    Hasher(Hasher&&) noexcept;
    Hasher& operator=(Hasher&&) noexcept;
    ~Hasher();

    void update(std::string_view data);
    /// Bytes so far.
    [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
    /// The hash; once, nothing may follow.
    [[nodiscard]] Sha256 finish();

  private:
    struct State;
    std::unique_ptr<State> state_;
    std::uint64_t size_ = 0;
};

[[nodiscard]] Sha256 sha256(std::string_view data);

} // namespace sky
