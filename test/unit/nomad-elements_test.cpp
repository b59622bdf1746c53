// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <sky/nomad/elements.hpp>

#include <nlohmann/json.hpp>

using sky::Json;
using sky::nomad::each_element;

namespace {

struct Seen {
    bool good = false;
    Json list = Json::array();
};

Seen seen(std::string_view text) {
    Seen out;
    out.good =
        each_element(text, {"ID", "Meta"}, [&](const Json& each) { out.list.push_back(each); });
    return out;
}

} // namespace

TEST_CASE("a list is read element by element, with what is wanted of each", "[nomad]") {
    const auto all = seen(
        R"([{"ID":"a","Deep":{"ID":"no","List":[1,[2,{"Meta":3}]]},"Meta":{"k":"v","n":[1,{"x":null}]}},
        {"Name":"b","Meta":null,"ID":"b"}, {}, {"Last":[{"ID":"no"}]}])");
    CHECK(all.good);
    CHECK(all.list == Json::parse(R"([{"ID":"a","Meta":{"k":"v","n":[1,{"x":null}]}},
        {"ID":"b","Meta":null},{},{}])"));
}

TEST_CASE("quotes and brackets in a list's strings end nothing", "[nomad]") {
    const auto all =
        seen(R"([{"x":"]}\\","y\"":"\"","ID":"\\\"","z":["[{\"",{"ID":"\\"}]},{"ID":"}]"}])");
    CHECK(all.good);
    CHECK(all.list == Json::parse(R"([{"ID":"\\\""},{"ID":"}]"}])"));
}

TEST_CASE("no piece of a list is taken for one", "[nomad]") {
    const std::string whole =
        R"([{"ID":"a","No":{"x":["\"",-1.5e3,null,true]},"Meta":{"k":"v"}}, {"ID":"b"}])";
    REQUIRE(seen(whole).good);
    for (std::size_t n = 0; n < whole.size(); ++n) {
        CHECK_FALSE(seen(whole.substr(0, n)).good);
    }
}

TEST_CASE("nothing is an empty list", "[nomad]") {
    for (const auto* text : {"[]", "null"}) {
        CHECK(seen(text).good);
        CHECK(seen(text).list.empty());
    }
}

TEST_CASE("what is no list of objects is none", "[nomad]") {
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
        CHECK_FALSE(seen(text).good);
    }
}
