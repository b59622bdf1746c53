// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include "sky-shell/ssh-command.hpp"

#include <sky/error.hpp>

#include <string>
#include <vector>

using namespace sky;
using namespace sky::shell;

namespace {

template <typename T>
T parsed(std::string_view command) {
    INFO(command);
    return std::get<T>(parse_ssh_command(command));
}

ExitCode refused(std::string_view command) {
    INFO(command);
    try {
        static_cast<void>(parse_ssh_command(command));
    } catch (const Error& e) {
        return e.code();
    }
    FAIL("accepted");
    return ExitCode::kOk;
}

} // namespace

TEST_CASE("git's two services are taken in every form that git's client sends") {
    for (const std::string path :
         {"a", "/a", "a.git", "/a.git", "a/", "/a/", "a.git/", "/a.git/"}) {
        CHECK(parsed<Push>("git-receive-pack '" + path + "'").repo.str() == "a");
        CHECK(parsed<Push>("git receive-pack '" + path + "'").repo.str() == "a");
        CHECK(parsed<Fetch>("git-upload-pack '" + path + "'").repo.str() == "a");
        CHECK(parsed<Fetch>("git upload-pack '" + path + "'").repo.str() == "a");
    }
    CHECK(parsed<Push>("git-receive-pack 'my-infra-2'").repo.str() == "my-infra-2");
}

TEST_CASE("what is no repository's name is refused") {
    using namespace std::string_literals;
    const std::vector<std::string> names{"cc/dd/../ee",
                                         "cc/../../../../../../tmp/gitolite-admin",
                                         "../a",
                                         "a/..",
                                         "app;id",
                                         "app$cmd",
                                         "app`whoami`",
                                         "app|cat",
                                         "app&background",
                                         "app>file",
                                         "app<file",
                                         "app(cmd)",
                                         "app{cmd}",
                                         "app[cmd]",
                                         "app*",
                                         "app?",
                                         "app!",
                                         "app#",
                                         "app\\cmd",
                                         "app\"quote",
                                         "app'quote",
                                         "app cmd",
                                         "app\tcmd",
                                         "app\ncmd",
                                         "app~cmd",
                                         "app/cmd",
                                         "app:cmd",
                                         "App",
                                         "testApp:latest",
                                         "-app",
                                         "_app",
                                         ".app",
                                         "",
                                         ".",
                                         "..",
                                         ".git",
                                         ".ssh",
                                         "///",
                                         "//a",
                                         "a//",
                                         "-x",
                                         "--help",
                                         "\xc3\xa9",
                                         "\xc2\xb2",
                                         "a..b",
                                         "a.lock",
                                         "HEAD",
                                         "x.git/hooks",
                                         "a%2fb",
                                         "a.git.git",
                                         "~/a",
                                         "~alice/a",
                                         "/~/a",
                                         "/~alice/a",
                                         "a\n",
                                         "a\r",
                                         "a\x7f",
                                         "a\0b"s,
                                         "a\xe2\x80\xae-b",
                                         std::string(32, 'a'),
                                         std::string(64, 'a'),
                                         std::string(4096, 'a')};
    for (const auto& name : names) {
        for (const std::string service : {"git-receive-pack '", "git-upload-pack '"}) {
            const auto code = refused(service + name + "'");
            CHECK((code == ExitCode::kData || code == ExitCode::kUsage));
        }
    }
    CHECK(parsed<Push>("git-receive-pack '" + std::string(31, 'a') + "'").repo.str().size() == 31);
}

TEST_CASE("what is no command is refused") {
    const std::vector<std::string> commands{
        "bash",
        "sh -c id",
        "git",
        "git-shell",
        "git-shell -c \"git-receive-pack 'a'\"",
        "git config foo.bar baz",
        "git-upload-pack",
        "git-upload-pack ",
        "git-receive-pack foo",
        "git-receive-pack \"foo\"",
        "git-upload-pack '--help'",
        "git-receive-pack  'a'",
        " git-receive-pack 'a'",
        "git-receive-pack 'a' ",
        "git-receive-pack 'a' 'b'",
        "git-receive-pack 'a'x",
        "git-receive-pack 'a",
        "git-receive-pack '",
        "git-receive-pack ''",
        "git-receive-pack 'a'\\''b'",
        "git-receive-pack 'a'\\!'b'",
        "git-receive-pack 'a';id",
        "git-receive-pack 'a'\nid",
        "git-receive-pack\t'a'",
        "git-receive-pack --skip-connectivity-check 'a'",
        "git -c receive.denyDeletes=false receive-pack 'a'",
        "git-upload-pack --timeout=0 'a'",
        "git-upload-archive 'a'",
        "git upload-archive 'a'",
        "git-receive-pack-x 'a'",
        "git-receive-packx 'a'",
        "GIT-RECEIVE-PACK 'a'",
        "/usr/bin/git-receive-pack 'a'",
        "cvs server",
        "status;id",
        "status ../x",
        "status infra/www/x",
        "status --verbose",
        "status infra infra",
        "status $(id)",
        "logs",
        "logs vm --follow=$(id)",
        "logs vm --build",
        "logs vm --build ../../x",
        "logs -f",
        "logs infra/",
        "logs /www",
        "connect www 0",
        "connect www 65536",
        "connect www 22x",
        "connect www -1",
        "stop",
        "stop www db",
        "stop www --to 0123456789012345678901234567890123456789",
        "rollback www --to main",
        "rollback www --to :/regex",
        "whoami x",
        "help\nstatus",
        "st\xc3\xa4tus",
        std::string("help\0", 5),
        "help " + std::string(5000, ' '),
    };
    for (const auto& command : commands) {
        CHECK(refused(command) != ExitCode::kOk);
    }
}

TEST_CASE("file transfer is refused in one clear line") {
    for (const std::string command :
         {"scp -t x", "rsync --server .", "/usr/lib/openssh/sftp-server", "internal-sftp"}) {
        CHECK(refused(command) == ExitCode::kRefused);
        CHECK_THROWS_WITH(parse_ssh_command(command), ContainsSubstring("no file transfer here"));
    }
}

TEST_CASE("verbs") {
    CHECK(std::holds_alternative<Help>(parse_ssh_command("")));
    CHECK(std::holds_alternative<Help>(parse_ssh_command("  ")));
    CHECK(std::holds_alternative<Help>(parse_ssh_command("help")));
    CHECK(std::holds_alternative<Whoami>(parse_ssh_command("whoami")));
    CHECK_FALSE(parsed<Status>("status").repo);
    CHECK(parsed<Status>("status --json infra/www").json);
    CHECK(parsed<Status>("status infra/www").repo->str() == "infra");
    CHECK(parsed<Status>("status infra/www").machine->str() == "www");
    CHECK(parsed<Builds>("builds infra").repo->str() == "infra");
    CHECK(parsed<Logs>("logs www -f").follow);
    CHECK(parsed<Logs>("logs --follow www").follow);
    CHECK(parsed<Logs>("logs infra/www --build 01j8c4uv01j8c4vv").build->str() ==
          "01j8c4uv01j8c4vv");
    CHECK(parsed<Connect>("connect www").port == 22);
    CHECK(parsed<Connect>("connect infra/www 8080").port == 8080);
    CHECK(parsed<Change>("stop  www").verb == ChangeVerb::kStop);
    CHECK(parsed<Change>("restart www").verb == ChangeVerb::kRestart);
    CHECK(parsed<Change>("redeploy www").verb == ChangeVerb::kRedeploy);
    CHECK_FALSE(parsed<Change>("rollback www").to);
    CHECK(parsed<Change>("rollback www --to 0123456789012345678901234567890123456789").to);
}

TEST_CASE("git's client gets git's own error packet, others text") {
    CHECK(speaks_git("git-receive-pack 'A'"));
    CHECK(speaks_git("git upload-archive 'a'"));
    CHECK_FALSE(speaks_git("status"));
    CHECK_FALSE(speaks_git("gitx"));
}

TEST_CASE("a login shell's argument is the client's, unless it is the ForceCommand") {
    CHECK(client_part("sky-shell").empty());
    CHECK(client_part("/usr/bin/sky-shell").empty());
    CHECK(client_part("/usr/bin/sky-shell --config /tmp/mine proc-receive -- sh").empty());
    CHECK(client_part("git-receive-pack 'a'") == "git-receive-pack 'a'");
    CHECK(client_part("status") == "status");
}
