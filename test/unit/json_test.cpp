// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <sky/error.hpp>
#include <sky/json.hpp>

#include <nlohmann/json.hpp>

using namespace sky;

TEST_CASE("JSON from outside: duplicate keys, depth, size and rubbish are refused") {
    CHECK(parse_json(R"({"a":[1,{"b":null}],"c":"x"})", 100, "it").at("a").at(1).contains("b"));
    CHECK_THROWS_WITH(parse_json(R"({"a":1,"a":2})", 100, "it"), "it: key 'a' stands there twice");
    CHECK_THROWS_WITH(parse_json(R"({"a":{"b":1,"c":2,"b":3}})", 100, "it"),
                      "it: key 'b' stands there twice");
    CHECK_NOTHROW(parse_json(R"([{"a":1},{"a":2}])", 100, "it"));
    CHECK_THROWS_WITH(parse_json(std::string(65, '[') + std::string(65, ']'), 1000, "it"),
                      "it: nested deeper than 64 levels");
    CHECK_THROWS_WITH(parse_json("[1,2,3]", 5, "it"), "it: larger than 5 bytes");
    CHECK_THROWS_WITH(parse_json("[1,\n2 3]", 100, "it"), "it: not JSON (byte 7)");
    CHECK_THROWS_WITH(parse_json("\xef\xbb\xbf{}", 100, "it"),
                      "it: not JSON: it begins with a byte order mark");
    for (const char* large : {"[18446744073709551616]", "[1e400]"}) {
        CHECK_THROWS_WITH(parse_json(large, 100, "it"), "it: a number in it is out of range");
    }
    for (const char* bad : {"", "{", "[1,]", "{\"a\"}", "nan", "{} {}", "\"\xff\"", "{\"a\":1}x"}) {
        CHECK_THROWS_WITH(parse_json(bad, 100, "it"), ContainsSubstring("it: not JSON"));
    }
}

TEST_CASE("fields name the key, never the value") {
    const Json value = parse_json(R"({"n":70000,"s":"secret","neg":-1,"big":18446744073709551615,)"
                                  R"("f":1.5,"o":{"x":1},"null":null})",
                                  200, "it");
    Fields fields(value, "spec");
    CHECK_THROWS_WITH(fields.integer("n", 0, 65535),
                      "spec.n: expected a whole number from 0 to 65535");
    CHECK_THROWS_WITH(fields.integer("s", 0, 9), "spec.s: expected a whole number from 0 to 9");
    CHECK_THROWS_WITH(fields.integer("neg", 0, 9), ContainsSubstring("spec.neg"));
    CHECK_THROWS_WITH(fields.integer("big", 0, INT64_MAX), ContainsSubstring("spec.big"));
    CHECK_THROWS_WITH(fields.integer("f", 0, 9), ContainsSubstring("spec.f"));
    CHECK_THROWS_WITH(fields.string("o"), "spec.o: expected a string");
    CHECK_THROWS_WITH(fields.string("gone"), "spec.gone: missing");
    CHECK_FALSE(fields.optional_string("null"));
    CHECK(fields.integer("n", 0, 70000) == 70000);
}

TEST_CASE("unknown keys are refused") {
    const Json value = parse_json(R"({"a":1,"zzz":2})", 100, "it");
    Fields fields(value, "spec");
    static_cast<void>(fields.integer("a", 0, 9));
    CHECK_THROWS_WITH(fields.done(), "spec.zzz: unknown key");
}

namespace {

struct Seen {
    bool good = false;
    Json list = Json::array();
};

Seen elements_of(std::string_view text) {
    Seen out;
    out.good =
        each_element(text, {"ID", "Meta"}, [&](const Json& each) { out.list.push_back(each); });
    return out;
}

} // namespace

TEST_CASE("a list is read element by element, with what is wanted of each", "[json]") {
    const auto all = elements_of(
        R"([{"ID":"a","Deep":{"ID":"no","List":[1,[2,{"Meta":3}]]},"Meta":{"k":"v","n":[1,{"x":null}]}},
        {"Name":"b","Meta":null,"ID":"b"}, {}, {"Last":[{"ID":"no"}]}])");
    CHECK(all.good);
    CHECK(all.list == Json::parse(R"([{"ID":"a","Meta":{"k":"v","n":[1,{"x":null}]}},
        {"ID":"b","Meta":null},{},{}])"));
}

TEST_CASE("quotes and brackets in a list's strings end nothing", "[json]") {
    const auto all = elements_of(
        R"([{"x":"]}\\","y\"":"\"","ID":"\\\"","z":["[{\"",{"ID":"\\"}]},{"ID":"}]"}])");
    CHECK(all.good);
    CHECK(all.list == Json::parse(R"([{"ID":"\\\""},{"ID":"}]"}])"));
}

TEST_CASE("no piece of a list is taken for one", "[json]") {
    const std::string whole =
        R"([{"ID":"a","No":{"x":["\"",-1.5e3,null,true]},"Meta":{"k":"v"}}, {"ID":"b"}])";
    REQUIRE(elements_of(whole).good);
    for (std::size_t n = 0; n < whole.size(); ++n) {
        CHECK_FALSE(elements_of(whole.substr(0, n)).good);
    }
}

TEST_CASE("nothing is an empty list", "[json]") {
    for (const auto* text : {"[]", "null"}) {
        CHECK(elements_of(text).good);
        CHECK(elements_of(text).list.empty());
    }
}

TEST_CASE("what is no list of objects is none", "[json]") {
    for (const auto* text : {"",
                             "{}",
                             "3",
                             "\"ID\"",
                             "[1]",
                             "[[]]",
                             "[null]",
                             "[{\"ID\":\"a\"}",
                             "[{}] x",
                             "{\"ID\":[]}",
                             "[{}",
                             "[{},]",
                             "[{} {}]",
                             "[{\"ID\"}]",
                             "[{\"ID\":}]",
                             "[{\"ID\":nul}]",
                             "[{\"ID\":1,}]",
                             "[{ID:1}]",
                             "[{\"ID\":[}]}]",
                             "[{\"No\":[1,2}",
                             "[{\"No\":\"}]",
                             "[{\"No\":\"\\\"}]",
                             "[{\"No\":1 2}]",
                             "nul",
                             "null x"}) {
        CAPTURE(text);
        CHECK_FALSE(elements_of(text).good);
    }
}
