// SPDX-License-Identifier: MIT
#include <sky-shell/pkt-line.hpp>

#include <sky/error.hpp>

#include <array>
#include <cerrno>
#include <charconv>
#include <unistd.h>

namespace sky::shell {

std::optional<Pkt> take_pkt(std::string_view& input) {
    if (input.size() < 4) {
        return std::nullopt;
    }
    std::size_t length = 0;
    const char* end = input.data() + 4;
    const auto [at, error] = std::from_chars(input.data(), end, length, 16);
    if (error != std::errc{} || at != end || (length != 0 && length < 4) ||
        length > kMostPktData + 4) {
        fail(ExitCode::kData, "git sent a packet with a bad length");
    }
    if (length == 0) {
        input.remove_prefix(4);
        return Pkt{Pkt::Kind::kFlush, ""};
    }
    if (input.size() < length) {
        return std::nullopt;
    }
    std::string_view data = input.substr(4, length - 4);
    input.remove_prefix(length);
    if (data.ends_with('\n')) {
        data.remove_suffix(1);
    }
    return Pkt{Pkt::Kind::kData, std::string(data)};
}

std::string make_pkt(std::string_view data) {
    if (data.size() > kMostPktData) {
        fail(ExitCode::kBug, "a packet of {} bytes is too long", data.size());
    }
    return fmt::format("{:04x}{}", data.size() + 4, data);
}

std::string error_pkt(std::string_view text) {
    return make_pkt("ERR " + std::string(text.substr(0, 1000)));
}

Pkt PktReader::next() {
    for (;;) {
        std::string_view view = buffer_;
        if (auto pkt = take_pkt(view)) {
            buffer_.erase(0, buffer_.size() - view.size());
            return std::move(*pkt);
        }
        std::array<char, 65536> chunk{};
        const ssize_t n = ::read(fd_, chunk.data(), chunk.size());
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            fail_errno("cannot read from git");
        }
        if (n == 0) {
            fail(ExitCode::kData, "git ended in the middle of its request");
        }
        buffer_.append(chunk.data(), static_cast<std::size_t>(n));
    }
}

} // namespace sky::shell
