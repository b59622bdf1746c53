// SPDX-License-Identifier: MIT
#include <sky/exit.hpp>

#include <sys/wait.h>

namespace sky {

int exit_code_of_wait_status(int status) noexcept {
    if (WIFEXITED(status)) {
        return WEXITSTATUS(status);
    }
    if (WIFSIGNALED(status)) {
        return 128 + WTERMSIG(status);
    }
    return static_cast<int>(ExitCode::kBug);
}

} // namespace sky
