// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <string_view>

namespace sky {

/// Base64 with padding (RFC 4648, section 4; libsodium).
[[nodiscard]] std::string base64(std::string_view bytes);

} // namespace sky
