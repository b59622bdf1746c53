// SPDX-License-Identifier: MIT
#include <sky-shell/proc-receive.hpp>

#include "sky-shell/builds.hpp"
#include "sky-shell/receive-plan.hpp"
#include "sky-shell/refs.hpp"
#include "sky-shell/repo.hpp"

#include <sky/error.hpp>
#include <sky/json.hpp>
#include <sky/lines.hpp>
#include <sky/lock.hpp>
#include <sky/log.hpp>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <functional>
#include <nlohmann/json.hpp>
#include <sys/file.h>
#include <sys/prctl.h>
#include <unistd.h>

namespace sky::shell {
namespace {

std::string from_environment(const char* key) {
    const char* text = std::getenv(key);
    if (text == nullptr) {
        fail(ExitCode::kUsage, "{} is not set (sky-shell calls this as a hook of git)", key);
    }
    return text;
}

/// git's transaction takes nothing but a commit for a branch, and says so only after the build.
void refuse_what_is_no_commit(const Session& session, const Repo& repo, const BuildId& build,
                              std::vector<Step>& steps) {
    std::set<Revision> revs;
    for (const auto& step : steps) {
        if (step.kind == Step::Kind::kBuild) {
            revs.insert(*step.update.new_rev);
        }
    }
    const auto commits = commits_among(session, repo, build, revs);
    for (auto& step : steps) {
        if (step.kind != Step::Kind::kBuild) {
            continue;
        }
        const auto commit = commits.find(*step.update.new_rev);
        if (commit == commits.end()) {
            step.kind = Step::Kind::kRefuse;
            step.reason = "not a commit";
        } else {
            step.tree = commit->second;
        }
    }
}

/// A build that could not even be written down would not get further. Deletions go on: they make
/// room.
void refuse_builds(std::vector<Step>& steps, const std::string& why) {
    for (auto& step : steps) {
        if (step.kind == Step::Kind::kBuild) {
            step.kind = Step::Kind::kRefuse;
            step.reason = printable(why, 60);
        }
    }
}

bool any(const std::vector<Step>& steps, Step::Kind kind) {
    return std::any_of(steps.begin(), steps.end(), [&](const Step& s) { return s.kind == kind; });
}

void greet(const Session& session, const Repo& repo, const BuildId& build, const PushRequest& push,
           const std::vector<Step>& steps) {
    const auto count = std::count_if(steps.begin(), steps.end(),
                                     [](const Step& s) { return s.kind == Step::Kind::kBuild; });
    if (count > 0) {
        log::say(fmt::format("-----> {}/{}: {} machine{} (build {}, Ctrl-C cancels)",
                             session.tenant.str(), repo.str(), count, count == 1 ? "" : "s",
                             build.str()));
    }
    if (!push.options.empty()) {
        log::say("warning: push options mean nothing here");
    }
}

/// Takes the pipe's lines, and tells the client in the end what was refused and where its log is.
class Collector {
  public:
    Collector(const Repo& repo, const BuildId& build, const std::vector<Step>& steps)
        : repo_(repo), build_(build), steps_(steps) {}

    void take(const std::string& line) {
        try {
            answers_.take(line, steps_);
        } catch (const Error& e) {
            log::warn("{}", e.what());
        }
    }
    [[nodiscard]] const Answers& answers() const noexcept { return answers_; }

    void tell(const std::vector<Step>& settled) const {
        for (const auto& step : settled) {
            if (step.kind != Step::Kind::kRefuse) {
                continue;
            }
            const auto name = printable(step.update.ref.substr(step.machine ? 11 : 0), 40);
            log::say(fmt::format("error: {}: {}", name, step.reason));
            if (!step.machine || !step.update.new_rev) {
                continue;
            }
            const auto& old_rev = step.update.old_rev;
            log::say(fmt::format("       {}; see 'logs {}/{} --build {}'",
                                 old_rev ? "stays at " + old_rev->str().substr(0, 7) : "not made",
                                 repo_.str(), name, build_.str()));
        }
    }

  private:
    const Repo& repo_;
    const BuildId& build_;
    const std::vector<Step>& steps_;
    Answers answers_;
};

/// Feeds the pipe and reads it to its end. In our process group: the supervisor's kill reaches all.
void run_pipe(const std::vector<std::string>& pipe, const std::string& input, Collector& collector,
              const std::function<void()>& check) {
    Pipe in = make_pipe();
    Pipe out = make_pipe();
    Command command(pipe.front());
    command.args({pipe.begin() + 1, pipe.end()});
    for (const char* key : {"PATH", "HOME", "LANG", "SKY_CONFIG", "SKY_REPO", "SKY_BUILD"}) {
        command.env(key, from_environment(key));
    }
    Child child = command.in(in.read.get()).out(out.write.get()).err(STDERR_FILENO).spawn();
    in.read.reset();
    out.write.reset();
    try {
        write_all(in.write.get(), input);
    } catch (const SysError& e) { // it has ended: every machine stays without a verdict
        log::debug("pipe: {}", e.what());
    }
    in.write.reset();
    LineReader reader(out.read.get());
    for (;;) {
        while (!readable(out.read.get(), std::chrono::seconds(1))) {
            check();
        }
        const auto line = reader.next();
        if (!line) {
            break;
        }
        collector.take(*line);
    }
    // Its exit code says nothing that the lines do not.
    child.wait();
}

BuildNote note_of(const BuildId& build, const Repo& repo, const std::vector<Step>& steps,
                  const std::string& at, bool ended) {
    BuildNote note{build, repo, at, std::nullopt, {}};
    for (const auto& step : steps) {
        if (step.machine) {
            note.verdicts[step.machine->str()] = step.kind == Step::Kind::kRefuse   ? step.reason
                                                 : step.kind == Step::Kind::kDelete ? "deleted"
                                                 : ended                            ? "ok"
                                                                                    : "building";
        }
    }
    if (ended) {
        note.ended = now_text();
    }
    return note;
}

/// What the cache lost since it was built is asked for once more, byte for byte.
std::string lines_of_lost(const std::vector<Step>& steps, const std::set<Machine>& lost,
                          const Repo& repo, const BuildId& build) {
    std::string lines;
    for (const auto& step : steps) {
        if (step.kind == Step::Kind::kBuild && lost.contains(*step.machine)) {
            log::say(fmt::format("-----> {}: not whole in the cache, brought anew",
                                 step.machine->str()));
            lines += dump_json(pipe_line(step, repo, build, true)) + "\n";
        }
    }
    return lines;
}

void build_all(const Session& session, const Repo& repo, const BuildId& build,
               const std::vector<std::string>& pipe, std::vector<Step>& steps) {
    const std::vector<Step> asked = steps;
    Collector collector(repo, build, asked);
    std::string input;
    for (const auto& step : asked) {
        if (step.kind == Step::Kind::kBuild) {
            input += dump_json(pipe_line(step, repo, build)) + "\n";
        }
    }
    const auto check = [&] { end_when_orphaned(session, repo, build); };
    try {
        const Outbox outbox(session, build);
        run_pipe(pipe, input, collector, check);
        const auto again = lines_of_lost(asked, collector.answers().lost(), repo, build);
        if (!again.empty()) {
            run_pipe(pipe, again, collector, check);
        }
    } catch (const Error& e) {
        log::error("{}", e.what());
    }
    collector.answers().settle(steps);
}

} // namespace

void end_when_orphaned(const Session& session, const Repo& repo, const BuildId& build) {
    const auto file = session.lock(repo);
    const Fd fd = open_file(file, O_RDONLY | O_NOFOLLOW);
    const bool held = ::flock(fd.get(), LOCK_SH | LOCK_NB) != 0;
    if (!held || Lock::holder(file).find(build.str()) == std::string::npos) {
        log::error("the push that this belongs to is dead");
        ::kill(0, SIGKILL);
    }
}

int proc_receive(const Session& session, const std::vector<std::string>& pipe) {
    // git gone means push gone.
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    const auto repo = Repo::parse(from_environment("SKY_REPO"));
    const auto build = BuildId::parse(from_environment("SKY_BUILD"));
    PktReader git(STDIN_FILENO);
    const auto push =
        read_push_request([&] { return git.next(); },
                          [](std::string_view packets) { write_all(STDOUT_FILENO, packets); });
    auto steps = plan_push(push.updates, read_branches(session.repo(repo)));
    refuse_what_is_no_commit(session, repo, build, steps);
    const std::string at = now_text();
    try {
        write_note(session, note_of(build, repo, steps, at, false));
    } catch (const Error& e) {
        log::error("{}", e.what());
        refuse_builds(steps, e.what());
    }
    greet(session, repo, build, push, steps);
    const bool pointless = push.atomic && any(steps, Step::Kind::kRefuse);
    if (any(steps, Step::Kind::kBuild) && !pointless) {
        build_all(session, repo, build, pipe, steps);
    }
    if (push.atomic) {
        settle_atomic(steps);
    }
    Collector(repo, build, steps).tell(steps);
    try {
        write_note(session, note_of(build, repo, steps, at, true));
    } catch (const Error& e) { // it is for people: no verdict hangs on it
        log::warn("{}", e.what());
    }
    end_when_orphaned(session, repo, build);
    write_all(STDOUT_FILENO, reply(steps));
    return 0;
}

} // namespace sky::shell
