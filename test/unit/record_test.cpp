// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <sky/error.hpp>
#include <sky/json.hpp>
#include <sky/record.hpp>

#include <functional>
#include <nlohmann/json.hpp>

using namespace sky;

namespace {

const std::string kA = "/nix/store/00000000000000000000000000000001-a";
const std::string kB = "/nix/store/00000000000000000000000000000002-b";
const std::string kHash = "sha256:0jd5yx6b0g4cdlpmfpvrkh8475dhjh0dmwaa7b9azx9s0ma8gkr1";

Json good() {
    return {{"v", 1},
            {"tenant", "alice"},
            {"repo", "infra"},
            {"machine", "www"},
            {"rev", std::string(40, 'a')},
            {"build", "01j8000000000000"},
            {"created", "2026-11-22T10:00:00Z"},
            {"deployment", kA},
            {"nar_hash", kHash},
            {"closure",
             {{{"path", kA}, {"nar_hash", kHash}, {"nar_size", 123}, {"references", {kA, kB}}},
              {{"path", kB}, {"nar_hash", kHash}, {"nar_size", 0}, {"references", Json::array()}}}},
            {"manifest", {{"v", 1}}}};
}

std::string complaint(const std::function<void(Json&)>& change) {
    auto value = good();
    change(value);
    try {
        static_cast<void>(parse_record(dump_json(value)));
    } catch (const Error& e) {
        CHECK(e.code() == ExitCode::kData);
        return e.what();
    }
    return "";
}

} // namespace

TEST_CASE("a record prints as it was read") {
    const auto text = dump_json(good()) + "\n";
    const auto record = parse_record(text);
    CHECK(print_record(record) == text);
    CHECK(parse_record(print_record(record)) == record);
    CHECK(record.machine.text() == "alice/infra/www");
    REQUIRE(record.find(StorePath::parse(kA)) != nullptr);
    CHECK(record.find(StorePath::parse(kA))->references.size() == 2);
    CHECK(record.find(StorePath::parse("/nix/store/00000000000000000000000000000003-c")) ==
          nullptr);
    CHECK(record.manifest == "{\"v\":1}");
}

TEST_CASE("a record that is not whole is refused with the key") {
    CHECK(complaint([](Json&) {}).empty());
    const auto whole = good();
    for (const auto& [key, value] : whole.items()) {
        CHECK_THAT(complaint([&, &name = key](Json& r) { r.erase(name); }),
                   ContainsSubstring(key + ": missing"));
        CHECK_FALSE(complaint([&, &name = key](Json& r) { r[name] = 7; }).empty());
    }
    CHECK_THAT(complaint([](Json& r) { r["closure"][1]["nar_size"] = -1; }),
               ContainsSubstring("closure[1].nar_size"));
    CHECK_THAT(complaint([](Json& r) { r["closure"][0]["references"] = {"/etc/passwd"}; }),
               ContainsSubstring("store path"));
    CHECK_THAT(complaint([](Json& r) { r["closure"].erase(1); }), ContainsSubstring("refers to"));
    CHECK_THAT(complaint([](Json& r) { r["closure"] = Json::array(); }),
               ContainsSubstring("lacks the deployment"));
    CHECK_THAT(complaint([](Json& r) { std::swap(r["closure"][0], r["closure"][1]); }),
               ContainsSubstring("closure[1]: not sorted"));
    CHECK_THAT(complaint([](Json& r) { r["closure"].push_back(r["closure"][1]); }),
               ContainsSubstring("twice"));
    CHECK_THAT(complaint([](Json& r) {
                   r["closure"][0]["references"] = {kB, kA};
               }),
               ContainsSubstring("not sorted"));
    CHECK_THAT(complaint([](Json& r) { r["nar_hash"] = "sha256:" + std::string(52, '0'); }),
               ContainsSubstring("lacks the deployment"));
    CHECK_THAT(complaint([](Json& r) { r["created"] = "yesterday"; }),
               ContainsSubstring("created"));
    CHECK_THAT(complaint([](Json& r) { r["machine"] = "../x"; }), ContainsSubstring("machine"));
    CHECK_THROWS_AS(parse_record("{\"v\":1,\"v\":1}"), Error);
}
