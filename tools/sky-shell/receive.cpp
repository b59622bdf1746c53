// SPDX-License-Identifier: MIT
#include <sky-shell/receive.hpp>

#include "sky-shell/builds.hpp"
#include "sky-shell/ensure.hpp"
#include "sky-shell/git-command.hpp"
#include "sky-shell/repo.hpp"
#include "sky-shell/supervise.hpp"

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/json.hpp>
#include <sky/log.hpp>

#include <cstdlib>
#include <fcntl.h>
#include <nlohmann/json.hpp>
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

/// When no hook ran. git tells that a disk is full, not which, nor what then, and its exit code
/// does not say that unpacking failed.
void tell_of_room(const Session& session, const Repo& repo) {
    const auto path = session.repo(repo);
    std::error_code unknown;
    const auto room = std::filesystem::space(path, unknown);
    const auto most = static_cast<std::uintmax_t>(session.config.push.max_mib) << 20U;
    if (!unknown && room.available < most) {
        log::say(fmt::format("warning: {} MiB left at '{}'", room.available >> 20U, path.string()));
        log::say("         (if that is why: make room there, then push again)");
    }
}

/// What a client of git's protocol v2 may ask for. Fetch alone uses it.
void pass_protocol(Command& git) {
    const char* asked = std::getenv("GIT_PROTOCOL");
    if (const auto version = checked_protocol(asked == nullptr ? "" : asked)) {
        git.env("GIT_PROTOCOL", *version);
    }
}

/// What the cache lost, or has damaged, is built and cached again, as a push of those branches
/// would. How it goes is told by the tools of the pipe; what came of it, by the next ensure.
void bring_anew(const Session& session, const Repo& repo,
                const std::map<Machine, Revision>& branches) {
    const auto build = new_build_id();
    BuildNote note{build, repo, now_text(), std::nullopt, {}};
    std::string lines;
    for (const auto& [machine, rev] : branches) {
        log::say(fmt::format("-----> {}: not whole in the cache, brought anew (build {})",
                             machine.str(), build.str()));
        note.verdicts[machine.str()] = "brought anew";
        lines += dump_json({{"v", 1},
                            {"repo", repo.str()},
                            {"machine", machine.str()},
                            {"old", rev.str()},
                            {"rev", rev.str()},
                            {"build", build.str()},
                            {"check", true}}) +
                 "\n";
    }
    write_note(session, note);
    const Outbox outbox(session, build);
    Command pipe = git_command(session, repo, build, session.config.hooks / "proc-receive");
    const Fd null = open_file("/dev/null", O_WRONLY);
    const auto outcome =
        supervise(std::move(pipe.arg("pipe")), {.first = lines, .alone = true, .out = null.get()});
    close_note(session, build);
    if (outcome.kind == Outcome::Kind::kGone) {
        fail(ExitCode::kIo, "the client has gone");
    }
}

/// From here on git has spoken: stdout is closed to us, every word goes to stderr.
int ensure_after_push(const Session& session, const Repo& repo, const BuildId& build) {
    try {
        const auto told = ensured_in_hook(session, repo, build);
        auto result = told ? *told : ensure_locked(session, repo, build);
        if (!result.uncached.empty()) {
            bring_anew(session, repo, result.uncached);
            result = ensure_locked(session, repo, new_build_id());
        }
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
    sweep_repo(session, repo);
    Command git = git_command(session, repo, build);
    git.args({"receive-pack", session.repo(repo).string()});
    // From its first hook on git needs nothing more of the client, who may then be silent for as
    // long as the build takes.
    const auto started = session.build(build);
    const auto outcome =
        supervise(std::move(git), {.first = "",
                                   .idle = std::chrono::seconds(session.config.push.idle_s),
                                   .working = [&] { return std::filesystem::exists(started); }});
    if (!std::filesystem::exists(started)) {
        tell_of_room(session, repo);
    }
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
