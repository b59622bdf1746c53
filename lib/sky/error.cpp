// SPDX-License-Identifier: MIT
#include <sky/error.hpp>

#include <cerrno>
#include <system_error>

namespace sky {

namespace {

bool storage_full(int error) {
    return error == ENOSPC || error == EDQUOT;
}

ExitCode code_of(int error, ExitCode otherwise) {
    return storage_full(error) || error == EIO || error == EROFS ? ExitCode::kIo : otherwise;
}

/// The cause first where a verdict of 60 columns has to hold it.
std::string text_of(int error, const std::string& what) {
    if (storage_full(error)) {
        return fmt::format("disk full: {} (make room there, then try again)", what);
    }
    return fmt::format("{}: {}", what, std::generic_category().message(error));
}

} // namespace

SysError::SysError(int errno_value, const std::string& what, ExitCode code)
    : Error(code_of(errno_value, code), text_of(errno_value, what)), errno_(errno_value) {}

int errno_now() noexcept {
    return errno;
}

} // namespace sky
