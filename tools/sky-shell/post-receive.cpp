// SPDX-License-Identifier: MIT
#include "sky-shell/proc-receive.hpp"
#include "sky-shell/receive-plan.hpp"

#include <sky/error.hpp>
#include <sky/json.hpp>
#include <sky/lines.hpp>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace sky::shell {

int post_receive() {
    const char* repo_text = std::getenv("SKY_REPO");
    const char* build_text = std::getenv("SKY_BUILD");
    if (repo_text == nullptr || build_text == nullptr) {
        fail(ExitCode::kUsage,
             "SKY_REPO or SKY_BUILD is not set (sky-shell calls this as a hook of git)");
    }
    const auto repo = Repo::parse(repo_text);
    const auto build = BuildId::parse(build_text);
    LineReader reader(STDIN_FILENO);
    while (const auto line = reader.next()) {
        const auto update = parse_ref_update(*line);
        const auto machine = machine_of_ref(update.ref);
        if (!machine) {
            continue; // proc-receive lets none through
        }
        const auto id = [](const std::optional<Revision>& rev) {
            return rev ? Json(rev->str()) : Json(nullptr);
        };
        write_line(STDOUT_FILENO, {{"v", 1},
                                   {"repo", repo.str()},
                                   {"machine", machine->str()},
                                   {"old", id(update.old_rev)},
                                   {"rev", id(update.new_rev)},
                                   {"build", build.str()}});
    }
    return 0;
}

} // namespace sky::shell
