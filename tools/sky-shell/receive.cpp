// SPDX-License-Identifier: MIT
#include "sky-shell/receive.hpp"

#include "sky-shell/builds.hpp"
#include "sky-shell/ensure.hpp"
#include "sky-shell/git-command.hpp"
#include "sky-shell/repo.hpp"
#include "sky-shell/supervise.hpp"

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/log.hpp>

#include <cstdlib>
#include <system_error>

namespace sky::shell {
namespace {

int outcome_code(const Outcome& outcome, const Session& session) {
    switch (outcome.kind) {
    case Outcome::Kind::kEnded:
        return outcome.exit_code;
    case Outcome::Kind::kGone:
        return code(ExitCode::kIo);
    case Outcome::Kind::kStalled:
        log::say(fmt::format("error: nothing came for {} s, given up (push again)",
                             session.config.push.idle_s));
        return code(ExitCode::kBusy);
    }
    return code(ExitCode::kBug);
}

/// What a client of git's protocol v2 may ask for. Fetch alone uses it.
void pass_protocol(Command& git) {
    const char* asked = std::getenv("GIT_PROTOCOL");
    if (const auto version = checked_protocol(asked == nullptr ? "" : asked)) {
        git.env("GIT_PROTOCOL", *version);
    }
}

/// From here on git has spoken: stdout is closed to us, every word goes to stderr.
int ensure_after_push(const Session& session, const Repo& repo, const BuildId& build) {
    try {
        const auto told = ensured_in_hook(session, repo, build);
        const auto result = told ? *told : ensure_locked(session, repo, build);
        if (result.code != 0) {
            log::say(fmt::format("error: {}: branches are as git says, but what runs is not: {}",
                                 repo.str(), result.why));
            log::say("       (push again, or ask 'status': each finishes what is missing)");
        }
        return result.code;
    } catch (const Error& e) {
        log::say(fmt::format("error: {}: {}", repo.str(), e.what()));
        return code(e.code());
    }
}

} // namespace

int receive(const Session& session, const Repo& repo) {
    const auto build = new_build_id();
    const auto lock = wait_for_lock(session, repo, "a push (build " + build.str() + ")");
    create_repo(session, repo);
    sweep(session);
    Command git = git_command(session, repo, build);
    git.args({"receive-pack", session.repo(repo).string()});
    // From its first hook on git needs nothing more of the client, who may then be silent for as
    // long as the build takes.
    const auto started = session.build(build);
    const auto outcome =
        supervise(std::move(git), {.first = "",
                                   .idle = std::chrono::seconds(session.config.push.idle_s),
                                   .working = [&] { return std::filesystem::exists(started); }});
    std::error_code ignored; // a killed hook leaves it; the next push sweeps what is left now
    std::filesystem::remove_all(session.outbox(build), ignored);
    close_note(session, build);
    const int git_code = outcome_code(outcome, session);
    const int run_code = ensure_after_push(session, repo, build);
    tidy_repo(session, repo);
    return git_code != 0 ? git_code : run_code;
}

int upload(const Session& session, const Repo& repo) {
    require_repo(session, repo);
    Command git = git_command(session, repo, new_build_id());
    git.args({"upload-pack", "--strict", session.repo(repo).string()});
    pass_protocol(git);
    const int result = outcome_code(supervise(std::move(git), {}), session);
    ensure_behind(session, repo);
    return result;
}

} // namespace sky::shell
