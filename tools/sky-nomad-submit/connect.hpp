// SPDX-License-Identifier: MIT
#pragma once

#include <sky/fd.hpp>

#include <chrono>
#include <cstdint>
#include <string>

namespace sky::submit {

/// Dials an IPv4 address. Error(kUnavailable) naming address and port when nobody answers within
/// `limit`.
[[nodiscard]] Fd dial(const std::string& address, std::uint16_t port,
                      std::chrono::milliseconds limit);

/// Relays bytes between the pair `in`, `out` and `socket` until both directions have ended. The end
/// of `in` is told to the socket and the other way round; once the socket has ended, `in` gets a
/// moment more. Throws SysError.
void relay(int in, int out, const Fd& socket);

} // namespace sky::submit
