// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sky::submit {

/// A task's log as Nomad streams it, from its start, in frames: what of it was not seen yet. A
/// stream that broke is begun anew, and nothing comes twice or is left out, unless Nomad has thrown
/// it away.
class Console {
  public:
    /// A new stream begins, at the start of the log.
    void begin();
    /// The next bytes of the stream. What is new in them.
    [[nodiscard]] std::string take(std::string_view piece);
    /// The stream said something that is no frame: an error of Nomad's, after which nothing comes.
    [[nodiscard]] bool broken() const noexcept { return broken_; }

  private:
    [[nodiscard]] std::string frame(std::string_view text);

    std::string rest_;       ///< of a frame that is not whole yet
    std::int64_t file_ = -1; ///< number of the rotated file that was read last
    std::uint64_t seen_ = 0; ///< bytes of it
    std::int64_t now_ = -1;  ///< in this stream: the same
    std::uint64_t at_ = 0;
    bool broken_ = false;
};

} // namespace sky::submit
