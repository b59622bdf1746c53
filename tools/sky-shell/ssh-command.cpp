// SPDX-License-Identifier: MIT
#include <sky-shell/ssh-command.hpp>

#include <sky/error.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <string>
#include <vector>

namespace sky::shell {
namespace {

constexpr std::size_t kMostBytes = 4096;

bool starts_with_word(std::string_view text, std::string_view word) {
    return text.starts_with(word) && (text.size() == word.size() || text[word.size()] == ' ');
}

/// 'infra', '/infra' (ssh:// URLs), 'infra.git', '/infra.git/': each affix at most once.
Repo parse_repo_path(std::string_view path) {
    const std::string_view whole = path;
    if (path.starts_with('/')) {
        path.remove_prefix(1);
    }
    if (path.starts_with('~')) {
        fail(ExitCode::kData, "repository '{}' not allowed (leave the ~ away: HOST:REPO)",
             printable(whole, 40));
    }
    if (path.ends_with('/')) {
        path.remove_suffix(1);
    }
    if (path.ends_with(".git")) {
        path.remove_suffix(4);
    }
    return Repo::parse(path);
}

/// What stands between the quotes of " 'X'": one single-quoted word and nothing else.
std::string_view quoted_word(std::string_view rest) {
    if (rest.size() < 3 || !rest.starts_with(" '") || !rest.ends_with('\'')) {
        fail(ExitCode::kUsage, "git asks for a repository in a way that is not allowed here "
                               "(try git push HOST:REPO)");
    }
    const auto word = rest.substr(2, rest.size() - 3);
    if (word.find_first_of("'\\") != std::string_view::npos) {
        fail(ExitCode::kData, "repository name '{}' not allowed (use a-z 0-9 -)",
             printable(word, 40));
    }
    return word;
}

std::optional<Request> parse_git(std::string_view command) {
    struct Form {
        std::string_view program;
        bool push;
    };
    static constexpr std::array<Form, 4> kForms{{{"git-receive-pack", true},
                                                 {"git receive-pack", true},
                                                 {"git-upload-pack", false},
                                                 {"git upload-pack", false}}};
    for (const auto& form : kForms) {
        if (starts_with_word(command, form.program)) {
            Repo repo = parse_repo_path(quoted_word(command.substr(form.program.size())));
            return form.push ? Request(Push{std::move(repo)}) : Request(Fetch{std::move(repo)});
        }
    }
    return std::nullopt;
}

std::vector<std::string_view> split_words(std::string_view text) {
    std::vector<std::string_view> words;
    while (!text.empty()) {
        const auto end = std::min(text.find(' '), text.size());
        if (end > 0) {
            words.push_back(text.substr(0, end));
        }
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return words;
}

/// The words after the verb; each is taken once, done() refuses the rest.
class Words {
  public:
    explicit Words(std::string_view line) : words_(split_words(line)) {
        verb_ = words_.empty() ? "" : words_.front();
        words_.erase(words_.begin());
    }

    [[nodiscard]] std::string_view verb() const { return verb_; }

    bool flag(std::string_view name) {
        const auto at = std::find(words_.begin(), words_.end(), name);
        if (at == words_.end()) {
            return false;
        }
        words_.erase(at);
        return true;
    }
    std::optional<std::string> value(std::string_view name) {
        const auto at = std::find(words_.begin(), words_.end(), name);
        if (at == words_.end()) {
            return std::nullopt;
        }
        if (at + 1 == words_.end()) {
            fail(ExitCode::kUsage, "'{}': {} needs a value (see 'help')", verb_, name);
        }
        std::string found(*(at + 1));
        words_.erase(at, at + 2);
        return found;
    }
    std::optional<std::string_view> next() {
        if (words_.empty() || words_.front().starts_with('-')) {
            return std::nullopt;
        }
        const auto word = words_.front();
        words_.erase(words_.begin());
        return word;
    }
    void done() const {
        if (!words_.empty()) {
            fail(ExitCode::kUsage, "'{}' does not take '{}' (see 'help')", verb_,
                 printable(words_.front(), 40));
        }
    }

  private:
    std::string_view verb_;
    std::vector<std::string_view> words_;
};

MachineRef parse_machine(Words& words) {
    const auto word = words.next();
    if (!word) {
        fail(ExitCode::kUsage, "'{}' needs a machine (REPO/MACHINE; see 'help')", words.verb());
    }
    const auto slash = word->find('/');
    if (slash == std::string_view::npos) {
        return {std::nullopt, Machine::parse(*word)};
    }
    return {Repo::parse(word->substr(0, slash)), Machine::parse(word->substr(slash + 1))};
}

Status parse_status(Words& words) {
    Status status;
    status.json = words.flag("--json");
    if (const auto word = words.next()) {
        const auto slash = word->find('/');
        status.repo = Repo::parse(word->substr(0, slash));
        if (slash != std::string_view::npos) {
            status.machine = Machine::parse(word->substr(slash + 1));
        }
    }
    return status;
}

Builds parse_builds(Words& words) {
    Builds builds;
    builds.json = words.flag("--json");
    if (const auto word = words.next()) {
        builds.repo = Repo::parse(*word);
    }
    return builds;
}

Logs parse_logs(Words& words) {
    const bool short_follow = words.flag("-f");
    const bool follow = words.flag("--follow") || short_follow;
    std::optional<BuildId> build;
    if (const auto text = words.value("--build")) {
        build = BuildId::parse(*text);
    }
    return {parse_machine(words), follow, std::move(build)};
}

Connect parse_connect(Words& words) {
    Connect connect{parse_machine(words)};
    if (const auto text = words.next()) {
        const auto [end, error] =
            std::from_chars(text->data(), text->data() + text->size(), connect.port);
        if (error != std::errc{} || end != text->data() + text->size() || connect.port == 0) {
            fail(ExitCode::kUsage, "port '{}' not allowed (1 to 65535)", printable(*text, 20));
        }
    }
    return connect;
}

Change parse_change(Words& words, ChangeVerb verb) {
    std::optional<Revision> to;
    if (verb == ChangeVerb::kRollback) {
        if (const auto text = words.value("--to")) {
            to = Revision::parse(*text);
        }
    }
    return {verb, parse_machine(words), std::move(to)};
}

Request parse_verb(Words& words) {
    const auto verb = words.verb();
    if (verb == "help") {
        return Help{};
    }
    if (verb == "whoami") {
        return Whoami{};
    }
    if (verb == "status") {
        return parse_status(words);
    }
    if (verb == "builds") {
        return parse_builds(words);
    }
    if (verb == "logs") {
        return parse_logs(words);
    }
    if (verb == "connect") {
        return parse_connect(words);
    }
    for (const auto change :
         {ChangeVerb::kStop, ChangeVerb::kRestart, ChangeVerb::kRedeploy, ChangeVerb::kRollback}) {
        if (verb == verb_text(change)) {
            return parse_change(words, change);
        }
    }
    if (verb == "scp" || verb == "rsync" || verb.ends_with("sftp-server") ||
        verb == "internal-sftp") {
        fail(ExitCode::kRefused, "no file transfer here (push with git, or see 'help')");
    }
    fail(ExitCode::kUsage, "no command '{}' here (see 'help')", printable(verb, 40));
}

} // namespace

std::string_view verb_text(ChangeVerb verb) noexcept {
    switch (verb) {
    case ChangeVerb::kStop:
        return "stop";
    case ChangeVerb::kRestart:
        return "restart";
    case ChangeVerb::kRedeploy:
        return "redeploy";
    case ChangeVerb::kRollback:
        return "rollback";
    }
    return "";
}

bool speaks_git(std::string_view command) noexcept {
    return command.starts_with("git-") || command.starts_with("git ");
}

std::string_view client_part(std::string_view login_command) noexcept {
    const auto program = login_command.substr(0, login_command.find(' '));
    const auto slash = program.rfind('/');
    const auto base = slash == std::string_view::npos ? program : program.substr(slash + 1);
    return base == "sky-shell" ? std::string_view{} : login_command;
}

Request parse_ssh_command(std::string_view command) {
    if (command.size() > kMostBytes) {
        fail(ExitCode::kUsage, "command longer than {} bytes", kMostBytes);
    }
    if (std::any_of(command.begin(), command.end(), [](char c) { return c < 0x20 || c > 0x7e; })) {
        fail(ExitCode::kUsage, "command '{}' holds a character that is not allowed",
             printable(command, 40));
    }
    if (command.find_first_not_of(' ') == std::string_view::npos) {
        return Help{};
    }
    if (auto git = parse_git(command)) {
        return std::move(*git);
    }
    if (speaks_git(command)) {
        fail(ExitCode::kUsage, "no command '{}' here (only git push and git fetch)",
             printable(command, 40));
    }
    Words words(command);
    Request request = parse_verb(words);
    words.done();
    return request;
}

} // namespace sky::shell
