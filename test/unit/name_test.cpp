// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <sky/error.hpp>
#include <sky/name.hpp>
#include <sky/terminal.hpp>

#include <random>
#include <set>
#include <vector>

using namespace sky;

TEST_CASE("names accept the rule and nothing else") {
    for (const char* good :
         {"a", "my-infra", "a1", "a-", "x--y", "abcdefghijklmnopqrstuvwxyz01234"}) {
        CHECK(Repo::valid(good));
        CHECK(Tenant::valid(good));
    }
    const std::vector<std::string> bad = {"",
                                          ".",
                                          "..",
                                          ".git",
                                          ".ssh",
                                          "///",
                                          "-x",
                                          "--help",
                                          "\xc3\xa9",
                                          "A",
                                          "App",
                                          "a.b",
                                          "a..b",
                                          "a.lock",
                                          "HEAD",
                                          "a/b",
                                          "a b",
                                          "a\tb",
                                          "a\nb",
                                          "a\n",
                                          "a%2fb",
                                          "a;id",
                                          "a$x",
                                          "a`id`",
                                          "a|b",
                                          "a&b",
                                          "a>b",
                                          "a(b)",
                                          "a*",
                                          "a?",
                                          "a!",
                                          "a#",
                                          "a\\b",
                                          "a\"",
                                          "a'",
                                          "a~b",
                                          "a:b",
                                          "_app",
                                          "1a",
                                          "a_b",
                                          std::string("a\0b", 3),
                                          "a\x7f",
                                          "a\xe2\x80\xae",
                                          std::string(32, 'a'),
                                          std::string(4096, 'a')};
    for (const auto& text : bad) {
        INFO(printable(text));
        CHECK_FALSE(Repo::valid(text));
        CHECK_THROWS_AS(Repo::parse(text), Error);
    }
    CHECK(Machine::valid(std::string(40, 'a')));
    CHECK_FALSE(Machine::valid(std::string(41, 'a')));
}

TEST_CASE("a refused name is shown printable, short and with the rule") {
    CHECK_THROWS_WITH(
        Repo::parse("Foo\x1b[2J"),
        "repository name 'Foo?[2J' not allowed (use a-z 0-9 -, start with a letter, at "
        "most 31 characters)");
    try {
        static_cast<void>(Repo::parse(std::string(5000, 'x')));
        FAIL("was accepted");
    } catch (const Error& e) {
        CHECK(std::string(e.what()).size() < 150);
        CHECK(e.code() == ExitCode::kData);
    }
}

TEST_CASE("joined machine paths are injective") {
    // The pairs that a dash or a concatenation would confuse.
    const std::vector<MachinePath> paths = {
        {Tenant::parse("a"), Repo::parse("b-c"), Machine::parse("d")},
        {Tenant::parse("a-b"), Repo::parse("c"), Machine::parse("d")},
        {Tenant::parse("a"), Repo::parse("b"), Machine::parse("c-d")},
        {Tenant::parse("ab"), Repo::parse("c"), Machine::parse("d")},
        {Tenant::parse("a"), Repo::parse("bc"), Machine::parse("d")},
    };
    std::set<std::string> seen;
    for (const auto& path : paths) {
        CHECK(seen.insert(path.joined()).second);
        CHECK(MachinePath::parse_joined(path.joined()) == path);
    }
}

TEST_CASE("random machine paths survive joining") {
    std::mt19937 random(7);
    const std::string first = "abcxyz";
    const std::string rest = "abcxyz019-";
    const auto name = [&](std::size_t most) {
        std::string text(1, first[random() % first.size()]);
        const std::size_t length = random() % most;
        while (text.size() < length) {
            text.push_back(rest[random() % rest.size()]);
        }
        return text;
    };
    for (int i = 0; i < 2000; ++i) {
        const MachinePath path{Tenant::parse(name(31)), Repo::parse(name(31)),
                               Machine::parse(name(40))};
        REQUIRE(MachinePath::parse_joined(path.joined()) == path);
    }
}

TEST_CASE("joined paths with the wrong number of parts are refused") {
    for (const char* bad : {"", "a", "a.b", "a.b.c.d", ".b.c", "a..c", "a.b.", "a/b/c"}) {
        CHECK_THROWS_AS(MachinePath::parse_joined(bad), Error);
    }
}

TEST_CASE("revisions and build ids") {
    CHECK(Revision::valid(std::string(40, 'a')));
    CHECK_FALSE(Revision::valid(std::string(40, '0'))); // git's "no object"
    CHECK_FALSE(Revision::valid(std::string(40, 'A')));
    CHECK_FALSE(Revision::valid(std::string(39, 'a')));
    const auto one = new_build_id();
    CHECK(BuildId::valid(one.str()));
    CHECK(one != new_build_id());
}

TEST_CASE("what a guest says gives a terminal no orders") {
    CHECK(for_terminal("one\r\ntwo\tthree\n") == "one\ntwo\tthree\n");
    CHECK(for_terminal("\x1b]0;title\x07\x1b[2J\b\x7f") == "?]0;title??[2J??");
    CHECK(for_terminal("\xc2\x9b"
                       "31m\xc3\xa4") == "??31m??"); // UTF-8's CSI too
}
