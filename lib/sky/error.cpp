// SPDX-License-Identifier: MIT
#include <sky/error.hpp>

#include <cerrno>
#include <system_error>

namespace sky {

SysError::SysError(int errno_value, const std::string& what, ExitCode code)
    : Error(code, fmt::format("{}: {}", what, std::generic_category().message(errno_value))),
      errno_(errno_value) {}

int errno_now() noexcept {
    return errno;
}

} // namespace sky
