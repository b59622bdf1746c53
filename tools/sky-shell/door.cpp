// SPDX-License-Identifier: MIT
#include <sky-shell/door.hpp>

#include "sky-shell/builds.hpp"
#include "sky-shell/ensure.hpp"
#include "sky-shell/pkt-line.hpp"
#include "sky-shell/proc-receive.hpp"
#include "sky-shell/receive.hpp"
#include "sky-shell/tenant.hpp"
#include "sky-shell/verbs.hpp"

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/log.hpp>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <string>
#include <syslog.h>
#include <unistd.h>
#include <vector>

namespace sky::shell {
namespace {

template <typename... Fs>
struct Overloaded : Fs... {
    using Fs::operator()...;
};
template <typename... Fs>
Overloaded(Fs...) -> Overloaded<Fs...>;

int answer(const Session& session, const Request& request) {
    return std::visit(Overloaded{
                          [&](const Push& r) { return receive(session, r.repo); },
                          [&](const Fetch& r) { return upload(session, r.repo); },
                          [&](const Help&) {
                              write_all(STDOUT_FILENO, help_text(session.config, session.tenant));
                              return 0;
                          },
                          [&](const Whoami&) { return whoami_verb(session); },
                          [&](const Status& r) { return status_verb(session, r); },
                          [&](const Builds& r) { return builds_verb(session, r); },
                          [&](const Logs& r) { return logs_verb(session, r); },
                          [&](const Connect& r) { return connect_verb(session, r); },
                          [&](const Change& r) { return change_verb(session, r); },
                      },
                      request);
}

/// For the operator: who was turned away, from where, and why. Nothing in it is more than one line.
void log_refusal(std::string_view command, const Error& error) {
    ::openlog("sky-shell", LOG_PID, LOG_AUTH);
    ::syslog(LOG_NOTICE, "uid %u from %s: refused (%d) '%s': %s", ::getuid(),
             client_address().c_str(), code(error.code()), printable(command, 200).c_str(),
             printable(error.what(), 300).c_str());
    ::closelog();
}

/// Who is suspended is told so; what runs of theirs runs on.
void refuse_suspended(const Session& session) {
    if (const auto& why = session.config.tenant(session.tenant).suspended) {
        fail(ExitCode::kRefused, "{} is suspended: {} (ask the operator; machines run on)",
             session.tenant.str(), *why);
    }
}

/// git's client prints what comes in its own protocol; on stderr it would blame access rights too.
int refuse(std::string_view command, const Error& error) {
    log_refusal(command, error);
    if (!speaks_git(command)) {
        throw error;
    }
    write_all(STDOUT_FILENO, error_pkt(printable(error.what(), 900)));
    return code(error.code());
}

int serve(Cli& cli, std::string_view command) {
    try {
        const auto session = open_session(cli.config());
        refuse_suspended(session);
        join_cgroups(session); // before a word of the client is looked at
        return answer(session, parse_ssh_command(command));
    } catch (const Error& e) {
        return refuse(command, e);
    }
}

std::string original_command() {
    const char* text = std::getenv("SSH_ORIGINAL_COMMAND");
    return text == nullptr ? "" : text;
}

int as_login_shell(Cli& cli, std::string_view argument) {
    const auto original = original_command();
    return serve(cli, original.empty() ? client_part(argument) : std::string_view(original));
}

int as_command(Cli& cli) {
    auto& app = cli.app();
    std::vector<std::string> pipe;
    EnsureOptions options;
    auto* proc = app.add_subcommand("proc-receive", "git's hook: build and cache each branch");
    proc->add_option("COMMAND", pipe, "reads and writes a JSON line per branch")->required();
    auto* post = app.add_subcommand("post-receive", "git's hook: start what the branches say");
    auto* ensure = app.add_subcommand("ensure", "finish what is missing, as the tenant");
    ensure->add_option("REPO", options.repos, "all, when none is named");
    ensure->add_flag("--dry-run", options.dry_run, "say what would be done, change nothing");
    ensure->add_flag("--behind", options.behind, "leave at once, go on for a short while, unseen");
    const auto tenant = declare_tenant(cli);
    app.require_subcommand(0, 1);
    cli.examples("  ForceCommand /usr/bin/sky-shell       in sshd_config, or as login shell\n"
                 "  setpriv --reuid alice ... sky-shell ensure\n"
                 "  sky-shell tenant add bob --key bob.pub   (root)\n"
                 "  sky-shell proc-receive -- /usr/share/skyflake/hooks/proc-receive pipe");
    cli.parse();
    if (const auto action = tenant()) {
        return action();
    }
    if (*proc) {
        return proc_receive(open_session(cli.config()), pipe);
    }
    if (*post) {
        return post_receive(open_session(cli.config()));
    }
    if (*ensure) {
        const auto session = open_session(cli.config());
        join_cgroups(session);
        return ensure_verb(session, options);
    }
    return serve(cli, original_command());
}

} // namespace

int shell_main(int argc, char** argv) noexcept {
    // sshd calls a login shell as `sky-shell -c X`. X is the client's: it is no command line of
    // ours, so the one that is parsed for options ends before it.
    const bool login = argc == 3 && std::string_view(argv[1]) == "-c";
    const std::string argument = login ? argv[2] : "";
    return run_main(
        login ? 1 : argc, argv, "sky-shell",
        "what a tenant reaches by ssh: git push, git fetch and a few verbs",
        [&](Cli& cli) { return login ? as_login_shell(cli, argument) : as_command(cli); });
}

} // namespace sky::shell
