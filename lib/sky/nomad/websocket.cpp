// SPDX-License-Identifier: MIT
#include <sky/nomad/websocket.hpp>

#include <sky/base64.hpp>
#include <sky/error.hpp>
#include <sky/name.hpp>

#include <algorithm>
#include <nettle/sha1.h>
#include <poll.h>
#include <sodium.h>

namespace sky::http {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::size_t kMessageMost = std::size_t{4} << 20;
constexpr std::size_t kHeadMost = std::size_t{16} << 10;
constexpr std::size_t kChunk = 65536;
constexpr unsigned kLast = 0x80;
constexpr unsigned kMasked = 0x80;
constexpr unsigned kTwoBytes = 126;   ///< the length follows in two bytes
constexpr unsigned kEightBytes = 127; ///< in eight

/// The value of a header in an answer's head.
std::string_view header(std::string_view head, std::string_view name) {
    while (!head.empty()) {
        const auto end = std::min(head.find("\r\n"), head.size());
        const auto line = head.substr(0, end);
        const auto same = [](char a, char b) { return (a | 0x20) == (b | 0x20); };
        if (line.size() > name.size() && line[name.size()] == ':' &&
            std::equal(name.begin(), name.end(), line.begin(), same)) {
            auto value = line.substr(name.size() + 1);
            value.remove_prefix(std::min(value.find_first_not_of(' '), value.size()));
            return value;
        }
        head.remove_prefix(std::min(end + 2, head.size()));
    }
    return {};
}

} // namespace

std::string client_frame(Opcode opcode, std::string_view payload, const std::array<char, 4>& mask) {
    std::string out(1, static_cast<char>(kLast | static_cast<unsigned>(opcode)));
    const auto length = static_cast<std::uint64_t>(payload.size());
    int bytes = 0;
    if (length < kTwoBytes) {
        out += static_cast<char>(kMasked | length);
    } else {
        bytes = length <= UINT16_MAX ? 2 : 8;
        out += static_cast<char>(kMasked | (bytes == 2 ? kTwoBytes : kEightBytes));
    }
    for (int i = bytes - 1; i >= 0; --i) {
        out += static_cast<char>((length >> (8 * i)) & 0xffU);
    }
    out.append(mask.data(), mask.size());
    for (std::size_t i = 0; i < payload.size(); ++i) {
        out += static_cast<char>(payload[i] ^ mask.at(i % mask.size()));
    }
    return out;
}

std::optional<Frame> take_frame(std::string& from, std::size_t cap) {
    const auto byte = [&](std::size_t at) {
        return static_cast<unsigned>(static_cast<unsigned char>(from.at(at)));
    };
    if (from.size() < 2) {
        return std::nullopt;
    }
    if ((byte(0) & 0x70U) != 0 || (byte(1) & kMasked) != 0) {
        fail(ExitCode::kUnavailable, "the server sends frames that nobody asked for");
    }
    std::uint64_t length = byte(1);
    std::size_t head = 2;
    if (length >= kTwoBytes) {
        const std::size_t bytes = length == kTwoBytes ? 2 : 8;
        if (from.size() < head + bytes) {
            return std::nullopt;
        }
        length = 0;
        for (std::size_t i = 0; i < bytes; ++i) {
            length = (length << 8U) | byte(head + i);
        }
        head += bytes;
    }
    if (length > cap) {
        fail(ExitCode::kUnavailable, "the server sends a message of more than {} bytes", cap);
    }
    const auto size = static_cast<std::size_t>(length);
    if (from.size() - head < size) {
        return std::nullopt;
    }
    Frame out{.opcode = static_cast<Opcode>(byte(0) & 0x0fU),
              .last = (byte(0) & kLast) != 0,
              .payload = from.substr(head, size)};
    from.erase(0, head + size);
    return out;
}

std::string accept_of(std::string_view key) {
    const std::string text =
        std::string(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; // RFC 6455, 1.3
    sha1_ctx context;
    sha1_init(&context);
    sha1_update(&context, text.size(), reinterpret_cast<const std::uint8_t*>(text.data()));
    std::array<std::uint8_t, SHA1_DIGEST_SIZE> digest{};
    sha1_digest(&context, digest.size(), digest.data());
    return base64({reinterpret_cast<const char*>(digest.data()), digest.size()});
}

WebSocket::WebSocket(std::unique_ptr<Stream> stream, std::string_view target,
                     const std::vector<std::string>& headers, milliseconds limit)
    : stream_(std::move(stream)) {
    std::array<char, 16> random{};
    randombytes_buf(random.data(), random.size());
    const std::string key = base64({random.data(), random.size()});
    out_ = fmt::format("GET {} HTTP/1.1\r\nHost: nomad\r\nConnection: Upgrade\r\n"
                       "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                       "Sec-WebSocket-Key: {}\r\n",
                       target, key);
    for (const auto& each : headers) {
        out_ += each + "\r\n";
    }
    out_ += "\r\n";
    const auto end = Clock::now() + limit;
    std::size_t head = std::string::npos;
    while ((head = in_.find("\r\n\r\n")) == std::string::npos) {
        const bool sent = flush();
        if (read_on()) {
            continue;
        }
        const auto left = std::chrono::duration_cast<milliseconds>(end - Clock::now()).count();
        if (ended_ || left <= 0 || in_.size() > kHeadMost) {
            fail(ExitCode::kUnavailable, "the server does not answer to the beginning");
        }
        pollfd entry{fd(), static_cast<short>(sent ? POLLIN : POLLIN | POLLOUT), 0};
        ::poll(&entry, 1, static_cast<int>(left));
    }
    const std::string answer = in_.substr(0, head + 2);
    in_.erase(0, head + 4);
    const std::string_view status = std::string_view(answer).substr(0, answer.find("\r\n"));
    if (!status.starts_with("HTTP/1.1 101 ") ||
        header(answer, "sec-websocket-accept") != accept_of(key)) {
        fail(ExitCode::kUnavailable, "the server does not speak WebSocket: {}",
             printable(std::string(status) + " " + in_, 300));
    }
}

bool WebSocket::read_on() {
    std::array<char, kChunk> chunk{};
    const auto n = stream_->receive(chunk);
    if (!n) {
        return false;
    }
    ended_ = ended_ || *n == 0;
    in_.append(chunk.data(), *n);
    return *n > 0;
}

std::optional<std::string> WebSocket::next() {
    while (!ended_) {
        auto frame = take_frame(in_, kMessageMost);
        if (!frame) {
            if (!read_on()) {
                return std::nullopt;
            }
            continue;
        }
        switch (frame->opcode) {
        case Opcode::kPing:
            say(Opcode::kPong, frame->payload);
            break;
        case Opcode::kPong:
            break;
        case Opcode::kClose: // two bytes of a code, then words
            ended_ = true;
            last_words_ = frame->payload.size() > 2 ? printable(frame->payload.substr(2), 300) : "";
            break;
        default:
            if (message_.size() + frame->payload.size() > kMessageMost) {
                fail(ExitCode::kUnavailable, "the server sends a message of more than {} bytes",
                     kMessageMost);
            }
            message_ += frame->payload;
            if (frame->last) {
                return std::exchange(message_, {});
            }
        }
    }
    return std::nullopt;
}

void WebSocket::say(Opcode opcode, std::string_view payload) {
    std::array<char, 4> mask{};
    randombytes_buf(mask.data(), mask.size());
    out_ += client_frame(opcode, payload, mask);
}

bool WebSocket::flush() {
    while (!out_.empty()) {
        const auto n = stream_->send(out_);
        if (!n) {
            return false;
        }
        out_.erase(0, *n);
    }
    return true;
}

} // namespace sky::http
