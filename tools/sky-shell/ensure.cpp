// SPDX-License-Identifier: MIT
#include <sky-shell/ensure.hpp>

#include "sky-shell/refs.hpp"
#include "sky-shell/repo.hpp"

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/json.hpp>
#include <sky/lines.hpp>
#include <sky/log.hpp>

#include <algorithm>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <thread>
#include <unistd.h>

namespace sky::shell {
namespace {

using std::chrono::steady_clock;

/// How long a run behind an answer may hold a repo's lock: a push waits for it. A start that takes
/// longer goes on under its supervisor.
constexpr std::chrono::seconds kBehindMost{10};
/// Waits that are shorter are not worth a word: a run behind the last command has its end to come.
constexpr std::chrono::milliseconds kSilentWait{500};
constexpr std::size_t kMostNote = 1U << 20U;

std::string holder_line(const std::string& what) {
    return fmt::format("{} from {}, since {}", what, client_address(), now_text());
}

using Branches = std::map<Machine, Revision>;

/// "www: no node has room; db: ..." from the lines that came back.
Ensured problems_of(int exit_code, std::string_view lines, const Branches& branches) {
    Ensured result{exit_code, {}, {}};
    std::string& all = result.why;
    while (!lines.empty()) {
        const auto line = lines.substr(0, lines.find('\n'));
        lines.remove_prefix(std::min(line.size() + 1, lines.size()));
        if (line.empty()) {
            continue;
        }
        const Json object = parse_json(line, 1U << 20U, "sky-nomad-submit");
        Fields fields(object, "sky-nomad-submit");
        if (fields.has("error")) {
            Fields error(fields.any("error"), "sky-nomad-submit.error");
            const auto name = fields.optional_string("machine").value_or("?");
            if (error.string("stage") == "cache" && Machine::valid(name)) {
                if (const auto at = branches.find(Machine::parse(name)); at != branches.end()) {
                    result.uncached.insert(*at);
                }
            }
            all += fmt::format("{}{}: {}", all.empty() ? "" : "; ", printable(name, 40),
                               printable(error.string("text"), 80));
        }
    }
    return result;
}

Json branches_of(const Session& session, const Repo& repo) {
    Json branches = Json::object();
    for (const auto& [machine, revision] : read_branches(session.repo(repo))) {
        branches[machine.str()] = revision.str();
    }
    return branches;
}

std::filesystem::path hook_note(const Session& session, const BuildId& build) {
    return session.build(build) / "ensured.json";
}

} // namespace

Lock wait_for_lock(const Session& session, const Repo& repo, const std::string& what) {
    const auto file = session.lock(repo);
    const auto limit = std::chrono::seconds(session.config.push.wait_s);
    const auto begin = steady_clock::now();
    const auto end = begin + limit;
    bool told = false;
    for (;;) {
        if (auto lock = Lock::try_take(file, holder_line(what))) {
            return std::move(*lock);
        }
        if (!told && steady_clock::now() >= begin + kSilentWait) {
            log::say(fmt::format("-----> {} is busy: {}", repo.str(), Lock::holder(file)));
            log::say(fmt::format("       waiting up to {} s, Ctrl-C is safe", limit.count()));
            told = true;
        }
        if (steady_clock::now() >= end) {
            fail(ExitCode::kBusy, "{} is busy: {} (try again later)", repo.str(),
                 Lock::holder(file));
        }
        if (hung_up(1) || hung_up(2)) {
            fail(ExitCode::kIo, "the client has gone while it waited for {}", repo.str());
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(50)); // flock(2) has no timeout
    }
}

Ensured ensure_locked(const Session& session, const Repo& repo, const BuildId& contact,
                      const EnsureLimits& limits) {
    Json request{{"v", 1},
                 {"repo", repo.str()},
                 {"branches", branches_of(session, repo)},
                 {"session", contact.str()}};
    if (limits.dry_run) {
        request["dry_run"] = true;
    }
    const auto answer = tool_command(session, "sky-nomad-submit")
                            .arg("ensure")
                            .capture(dump_json(request) + "\n", 16U << 20U, limits.most);
    auto result = problems_of(answer.exit_code, answer.out, read_branches(session.repo(repo)));
    if (result.code == 0 && !result.why.empty()) {
        result.code = code(ExitCode::kSomeFailed);
    }
    if (result.code != 0 && result.why.empty()) {
        result.why = fmt::format("sky-nomad-submit ended with {}", result.code);
    }
    return result;
}

void ensure_in_hook(const Session& session, const Repo& repo, const BuildId& build) {
    const Json branches = branches_of(session, repo);
    const auto result = ensure_locked(session, repo, build);
    if (!result.uncached.empty()) {
        return; // left to who asked for the push, and asks again
    }
    const Json note{{"v", 1}, {"branches", branches}, {"code", result.code}, {"why", result.why}};
    atomic_write(hook_note(session, build), dump_json(note) + "\n", {.durable = false});
}

std::optional<Ensured> ensured_in_hook(const Session& session, const Repo& repo,
                                       const BuildId& build) {
    std::error_code ignored; // the draft of a hook that was killed
    std::filesystem::remove(session.build(build) / ".ensured.json.tmp", ignored);
    const auto text = read_file_if_exists(hook_note(session, build), kMostNote);
    if (!text) {
        return std::nullopt;
    }
    const Json note = parse_json(*text, kMostNote, "ensured.json");
    Fields fields(note, "ensured.json");
    static_cast<void>(fields.integer("v", 1, 1));
    const bool same = fields.any("branches") == branches_of(session, repo);
    Ensured result{static_cast<int>(fields.integer("code", 0, 255)), fields.string("why"), {}};
    fields.done();
    return same ? std::optional(std::move(result)) : std::nullopt;
}

namespace {

/// Nothing when somebody holds the lock: they do it.
std::optional<Ensured> ensure(const Session& session, const Repo& repo,
                              const EnsureLimits& limits) {
    const auto contact = new_build_id();
    const auto lock =
        Lock::try_take(session.lock(repo), holder_line("a check (" + contact.str() + ")"));
    if (!lock) {
        return std::nullopt;
    }
    return ensure_locked(session, repo, contact, limits);
}

std::vector<Repo> repos_of(const Session& session, const std::vector<std::string>& names) {
    if (names.empty()) {
        return list_repos(session);
    }
    std::vector<Repo> repos;
    for (const auto& name : names) {
        repos.push_back(Repo::parse(name));
        require_repo(session, repos.back());
    }
    return repos;
}

} // namespace

void ensure_behind(const Session& session, const std::optional<Repo>& repo) noexcept {
    try {
        const Fd null = open_file("/dev/null", O_RDWR);
        Command command = tool_command(session, "sky-shell");
        command.args({"ensure", "--behind"}).env("SSH_CONNECTION", client_address());
        if (repo) {
            command.arg(repo->str());
        }
        command.out(null.get()).err(null.get()).run(); // until it has left for the background
    } catch (const std::exception& e) {                // the next contact does it
        log::debug("ensure: {}", e.what());
    }
}

int ensure_verb(const Session& session, const EnsureOptions& options) {
    const auto repos = repos_of(session, options.repos);
    EnsureLimits limits{.dry_run = options.dry_run};
    if (options.behind) {
        if (::daemon(0, 0) != 0) {
            fail_errno("cannot go on behind");
        }
        limits.most = kBehindMost;
    }
    int worst = 0;
    for (const auto& repo : repos) {
        try {
            const auto result = ensure(session, repo, limits);
            if (!result) {
                log::info("{}: busy ({}), left to them", repo.str(),
                          Lock::holder(session.lock(repo)));
            } else if (result->code != 0) {
                log::error("{}: {}", repo.str(), result->why);
                worst = std::max(worst, result->code);
            }
        } catch (const Error& e) { // one repo that can not be read must not hide the others
            log::error("{}: {}", repo.str(), e.what());
            worst = std::max(worst, code(e.code()));
        }
    }
    return worst;
}

} // namespace sky::shell
