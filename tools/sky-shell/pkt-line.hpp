// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace sky::shell {

/// One packet of git's pkt-line framing (gitprotocol-common(5)).
struct Pkt {
    enum class Kind { kData, kFlush };
    Kind kind = Kind::kData;
    std::string data; ///< without the newline that may end it

    [[nodiscard]] bool flush() const noexcept { return kind == Kind::kFlush; }
    friend bool operator==(const Pkt&, const Pkt&) = default;
};

constexpr std::string_view kFlushPkt = "0000";
constexpr std::size_t kMostPktData = 65516;

/// Takes one packet off the front of `input`; nothing when it is not there in whole yet.
/// Throws Error(kData) for what is no packet (delimiters of protocol v2 too: hooks get none).
[[nodiscard]] std::optional<Pkt> take_pkt(std::string_view& input);

/// `data` framed. Throws Error(kBug) when it is longer than kMostPktData.
[[nodiscard]] std::string make_pkt(std::string_view data);

/// The packet by which a server refuses before git speaks: `fatal: remote error: TEXT`. Cut to fit.
[[nodiscard]] std::string error_pkt(std::string_view text);

/// Packets from a descriptor, which it does not own.
class PktReader {
  public:
    explicit PktReader(int fd) : fd_(fd) {}
    /// The next packet. Throws Error(kData) when the input ends instead.
    [[nodiscard]] Pkt next();

  private:
    int fd_;
    std::string buffer_;
};

} // namespace sky::shell
