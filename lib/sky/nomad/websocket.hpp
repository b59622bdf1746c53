// SPDX-License-Identifier: MIT
#pragma once

#include <sky/nomad/http.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sky::http {

/// Of RFC 6455, section 5.2.
enum class Opcode : std::uint8_t {
    kMore = 0x0,
    kText = 0x1,
    kBinary = 0x2,
    kClose = 0x8,
    kPing = 0x9,
    kPong = 0xa
};

struct Frame {
    Opcode opcode = Opcode::kText;
    bool last = true; ///< of its message
    std::string payload = {};
};

/// A whole frame as a client sends it: masked. Pure.
[[nodiscard]] std::string client_frame(Opcode opcode, std::string_view payload,
                                       const std::array<char, 4>& mask);
/// Takes a server's first frame out of what was read, if it is whole. Error(kUnavailable) for one
/// that is masked, uses extensions, or is longer than `cap` bytes. Pure.
[[nodiscard]] std::optional<Frame> take_frame(std::string& from, std::size_t cap);
/// What a server has to answer to a key: "Sec-WebSocket-Accept". Pure.
[[nodiscard]] std::string accept_of(std::string_view key);

/// A WebSocket as a client has it: whole messages of text both ways, nothing blocks but the
/// beginning.
class WebSocket {
  public:
    /// Asks the server behind `stream` to speak it at `target` ("/v1/..."), within `limit`.
    /// Error(kUnavailable) when it does not, with its words; Failure.
    WebSocket(std::unique_ptr<Stream> stream, std::string_view target,
              const std::vector<std::string>& headers, std::chrono::milliseconds limit);

    [[nodiscard]] int fd() const noexcept { return stream_->fd(); }
    /// The next message that has come; nothing: poll for more, unless ended(). Failure.
    [[nodiscard]] std::optional<std::string> next();
    /// To be sent; flush() does it.
    void queue(std::string_view text) { say(Opcode::kText, text); }
    /// Sends what can be sent. True when nothing is left; else poll for writing. Failure.
    bool flush();
    [[nodiscard]] bool ended() const noexcept { return ended_; }
    /// What the server said when it ended it; printable.
    [[nodiscard]] const std::string& last_words() const noexcept { return last_words_; }

  private:
    void say(Opcode opcode, std::string_view payload);
    /// More of what came; false: nothing for now, or nothing any more.
    bool read_on();

    std::unique_ptr<Stream> stream_;
    std::string in_;      ///< read, no whole frame yet
    std::string out_;     ///< not sent yet
    std::string message_; ///< its frames so far
    std::string last_words_;
    bool ended_ = false;
};

} // namespace sky::http
