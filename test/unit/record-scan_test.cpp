// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include "unit/submit.hpp"
#include <sky-nomad-submit/record-scan.hpp>

#include <optional>

using namespace sky;
using namespace sky::submit;

namespace {

std::optional<MachineRecord> parsed(const std::string& text) {
    try {
        return MachineRecord::parse(text);
    } catch (const Error&) {
        return std::nullopt;
    }
}

std::vector<MachineRecord> all_kinds() {
    MachineRecord plain{.rev = test::rev('a'), .pin = {}, .did = {}, .good = {}, .granted = {}};
    plain.did.at = "2026-11-22T10:00:00Z";
    MachineRecord runs = plain;
    runs.did = {.state = MachineRecord::State::kRunning,
                .rev = test::rev('a'),
                .job = test::rev('b'),
                .spec = std::string(64, 'c'),
                .at = "2026-11-22T10:00:00Z",
                .session = new_build_id(),
                .why = std::nullopt};
    runs.good = {test::rev('a'), test::rev('b')};
    runs.granted = {.vcpu = 2, .mem_mib = 512, .disk_mib = 2048};
    MachineRecord held = runs;
    held.pin = MachineRecord::Pin{.rev = test::rev('b'), .why = "held back: \"why\""};
    held.did.state = MachineRecord::State::kFailed;
    held.did.why = "it failed";
    held.did.uncached = true;
    MachineRecord gone = plain;
    gone.rev.reset();
    gone.want_running = false;
    return {plain, runs, held, gone};
}

} // namespace

TEST_CASE("a scan finds in a record what parsing finds", "[record]") {
    for (const MachineRecord& record : all_kinds()) {
        const auto text = record.dump();
        CHECK(scan_record(text) == record);
        CHECK(scan_record(Json::parse(text).dump(2)) == record);
    }
}

TEST_CASE("a scan takes nothing that parsing refuses, nor anything for something else",
          "[record]") {
    const std::vector<std::string> odd{"null",
                                       "[]",
                                       "{}",
                                       "7",
                                       R"("x")",
                                       "true",
                                       "[1]",
                                       "[[]]",
                                       R"({"v":1})",
                                       R"([null])",
                                       R"({"rev":null})",
                                       "-1",
                                       "1.5",
                                       R"(["a"])",
                                       R"([{"rev":"a"}])",
                                       R"("running")",
                                       R"([true])",
                                       std::to_string(std::uint64_t{1} << 51U)};
    for (const MachineRecord& record : all_kinds()) {
        const auto whole = Json::parse(record.dump());
        const auto check = [](const std::string& text) {
            const auto scan = scan_record(text);
            INFO(text);
            CHECK((!scan || scan == parsed(text)));
        };
        const auto flat = whole.flatten();
        std::vector<Json::json_pointer> places;
        for (const auto& [at, value] : flat.items()) {
            for (Json::json_pointer place(at); !place.empty(); place = place.parent_pointer()) {
                places.push_back(place);
            }
        }
        for (const auto& place : places) {
            for (const auto& value : odd) {
                Json changed = whole;
                changed[place] = Json::parse(value);
                check(changed.dump());
            }
            Json more = whole;
            Json& parent = more[place.parent_pointer()];
            if (parent.is_object()) {
                parent["unknown"] = 1;
                check(more.dump());
                CHECK_FALSE(scan_record(more.dump()));
                parent.erase("unknown");
                parent.erase(place.back());
                check(more.dump());
            }
        }
        const auto text = record.dump();
        for (std::size_t n = 0; n < text.size(); ++n) {
            CHECK_FALSE(scan_record(text.substr(0, n)));
        }
        CHECK_FALSE(scan_record(text + "{}"));
        CHECK_FALSE(scan_record("{\"v\":1," + text.substr(1)));
    }
    CHECK_FALSE(scan_record(all_kinds().front().dump().replace(0, 1, "{\"rev\":null,")));
}
