// SPDX-License-Identifier: MIT
#include "sky-shell/ensure.hpp"
#include "sky-shell/proc-receive.hpp"

#include <sky/error.hpp>

#include <cstdlib>
#include <unistd.h>

namespace sky::shell {

int post_receive(const Session& session) {
    const char* repo_text = std::getenv("SKY_REPO");
    const char* build_text = std::getenv("SKY_BUILD");
    if (repo_text == nullptr || build_text == nullptr) {
        fail(ExitCode::kUsage,
             "SKY_REPO or SKY_BUILD is not set (sky-shell calls this as a hook of git)");
    }
    const auto repo = Repo::parse(repo_text);
    const auto build = BuildId::parse(build_text);
    // What moved stands in the refs by now; git's list of it is read so that git can end.
    constexpr std::size_t kMost = std::size_t{16} << 20;
    static_cast<void>(read_all(STDIN_FILENO, kMost, "git's list"));
    end_when_orphaned(session, repo, build);
    ensure_in_hook(session, repo, build);
    return 0;
}

} // namespace sky::shell
