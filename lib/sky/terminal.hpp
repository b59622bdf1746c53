// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <string_view>

namespace sky {

/// A guest's text without what a terminal would take for orders: carriage returns go, every other
/// control character but newline and tab, and all that is not ASCII, is '?'. Pure.
[[nodiscard]] std::string for_terminal(std::string_view text);

/// Writes a guest's text to `fd`: as it is, unless that is a terminal. A tenant's is at the other
/// end of ssh and the tenant's own, an operator's is not the guest's. Throws SysError.
void write_guests(int fd, std::string_view text);

} // namespace sky
