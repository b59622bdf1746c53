// SPDX-License-Identifier: MIT
#include <sky-shell/verbs.hpp>

#include "sky-shell/ensure.hpp"
#include "sky-shell/keys.hpp"
#include "sky-shell/refs.hpp"
#include "sky-shell/repo.hpp"
#include "sky-shell/supervise.hpp"
#include "sky-shell/table.hpp"

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/json.hpp>
#include <sky/log.hpp>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <unistd.h>
#include <vector>

namespace sky::shell {
namespace {

constexpr std::size_t kMostAnswer = 64U << 20U;

std::vector<Repo> repos_for(const Session& session, const std::optional<Repo>& named) {
    if (!named) {
        return list_repos(session);
    }
    require_repo(session, *named);
    return {*named};
}

std::vector<Json> json_lines(std::string_view text) {
    std::vector<Json> lines;
    while (!text.empty()) {
        const auto line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(line.size() + 1, text.size()));
        if (!line.empty()) {
            lines.push_back(parse_json(line, 1U << 20U, "sky-nomad-submit"));
        }
    }
    return lines;
}

/// "ssh-ed25519 SHA256:..." of the key that opened the session, if sshd says (ExposeAuthInfo).
std::optional<std::string> key_fingerprint() {
    const char* file = std::getenv("SSH_USER_AUTH");
    const auto text = file == nullptr ? std::nullopt : read_file_if_exists(file, 65536);
    if (!text || !text->starts_with("publickey ")) {
        return std::nullopt;
    }
    const auto line = text->substr(10, text->find('\n') - 10);
    const auto space = line.find(' ');
    const auto print = space == std::string::npos ? "" : fingerprint(line.substr(space + 1));
    return print.empty() ? std::nullopt
                         : std::optional(printable(line.substr(0, space)) + " " + print);
}

} // namespace

Found find_machine(const Session& session, const MachineRef& ref) {
    std::vector<Found> found;
    for (const auto& repo : repos_for(session, ref.repo)) {
        const auto branches = read_branches(session.repo(repo));
        if (const auto at = branches.find(ref.machine); at != branches.end()) {
            found.push_back({repo, ref.machine, at->second});
        }
    }
    if (found.empty()) {
        fail(ExitCode::kRefused, "machine '{}' is not there or not yours (see 'status')",
             ref.machine.str());
    }
    if (found.size() > 1) {
        fail(ExitCode::kUsage, "machine '{0}' is in more than one repository (say {1}/{0})",
             ref.machine.str(), found.front().repo.str());
    }
    return found.front();
}

int whoami_verb(const Session& session) {
    std::string text = fmt::format("{} on {}, from {}\n", session.tenant.str(), session.config.host,
                                   client_address());
    if (const auto key = key_fingerprint()) {
        text += fmt::format("key {}\n", *key);
    }
    write_all(STDOUT_FILENO, text);
    return 0;
}

namespace {

int show_status(const Session& session, const Status& request) {
    std::string asked;
    for (const auto& repo : repos_for(session, request.repo)) {
        Json line{{"v", 1}, {"repo", repo.str()}, {"branches", Json::object()}};
        for (const auto& [machine, revision] : read_branches(session.repo(repo))) {
            line["branches"][machine.str()] = revision.str();
        }
        if (request.machine) {
            line["machine"] = request.machine->str();
        }
        asked += dump_json(line) + "\n";
    }
    const auto answer = tool_command(session, "sky-nomad-submit")
                            .arg("status")
                            .capture(asked, kMostAnswer, std::chrono::seconds(60));
    const auto lines = json_lines(answer.out);
    if (request.machine && lines.empty() && answer.exit_code == 0) {
        fail(ExitCode::kRefused, "machine '{}' is not there or not yours (see 'status')",
             request.machine->str());
    }
    if (request.json) {
        for (const auto& line : lines) {
            write_all(STDOUT_FILENO, dump_json(line) + "\n");
        }
    } else if (lines.empty() && answer.exit_code == 0) {
        log::say("no machines yet (see 'help' for how to push one)");
    } else {
        write_all(STDOUT_FILENO, status_table(lines));
    }
    return answer.exit_code;
}

/// Asks sky-nomad-submit to change one machine, with the repo's lock held.
int change(const Session& session, const Change& request, const Repo& repo) {
    const auto verb = std::string(verb_text(request.verb));
    // The branch must not move between reading it and acting on it.
    const auto lock = wait_for_lock(session, repo, "a " + verb);
    const auto machine = find_machine(session, {repo, request.machine.machine});
    Json line{{"v", 1},
              {"repo", repo.str()},
              {"machine", machine.machine.str()},
              {"rev", machine.rev.str()}};
    if (request.to) {
        line["to"] = request.to->str();
    }
    // It tells the client itself, on stderr, how it went; its JSON is for pipes.
    return tool_command(session, "sky-nomad-submit")
        .arg(verb)
        .capture(dump_json(line) + "\n", kMostAnswer, std::chrono::minutes(30))
        .exit_code;
}

} // namespace

int status_verb(const Session& session, const Status& request) {
    const int result = show_status(session, request);
    ensure_behind(session, request.repo);
    return result;
}

int change_verb(const Session& session, const Change& request) {
    const auto& allowed = session.config.verbs;
    const auto verb = verb_text(request.verb);
    if (std::find(allowed.begin(), allowed.end(), verb) == allowed.end()) {
        fail(ExitCode::kRefused, "'{}' is not allowed on this host", verb);
    }
    const auto repo = find_machine(session, request.machine).repo;
    const int result = change(session, request, repo);
    if (result == 0) { // what failed this very moment is not tried again at once
        ensure_behind(session, repo);
    }
    return result;
}

int connect_verb(const Session& session, const Connect& request) {
    const auto machine = find_machine(session, request.machine);
    const Json line{{"v", 1},
                    {"repo", machine.repo.str()},
                    {"machine", machine.machine.str()},
                    {"port", request.port}};
    ensure_behind(session, machine.repo); // now: at the end of a connection it is of no use
    Command command = tool_command(session, "sky-nomad-submit");
    command.arg("connect");
    const auto outcome = supervise(std::move(command), {.first = dump_json(line) + "\n"});
    return outcome.kind == Outcome::Kind::kEnded ? outcome.exit_code : code(ExitCode::kIo);
}

} // namespace sky::shell
