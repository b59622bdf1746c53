// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include "sky-shell/pkt-line.hpp"

#include <sky/error.hpp>

#include <random>
#include <string>
#include <vector>

using namespace sky;
using namespace sky::shell;

TEST_CASE("packets are read as they were made, however the input is cut") {
    std::mt19937 random(7);
    std::vector<Pkt> sent;
    std::string wire;
    for (int i = 0; i < 300; ++i) {
        if (random() % 5 == 0) {
            sent.push_back({Pkt::Kind::kFlush, ""});
            wire += kFlushPkt;
            continue;
        }
        std::string data(random() % (i % 50 == 0 ? kMostPktData : 40), '\0');
        for (char& c : data) {
            c = static_cast<char>(random());
        }
        while (data.ends_with('\n')) {
            data.pop_back();
        }
        sent.push_back({Pkt::Kind::kData, data});
        wire += make_pkt(data);
    }
    std::string_view rest = wire;
    for (const auto& pkt : sent) {
        std::string_view part = rest.substr(0, random() % 3);
        CHECK_FALSE(take_pkt(part)); // less than a length is never a packet
        const auto got = take_pkt(rest);
        REQUIRE(got);
        CHECK(*got == pkt);
    }
    CHECK(rest.empty());
}

TEST_CASE("a packet loses one newline and no more") {
    std::string_view wire = "0007a\n\n";
    CHECK(take_pkt(wire)->data == "a\n");
}

TEST_CASE("what is no packet is refused") {
    for (const std::string wire : {"0001", "0002", "0003", "zzzz", " 004", "-004", "+004", "0x05",
                                   "fff5", "ffff", "fff1", "00g0"}) {
        INFO(wire);
        std::string_view view = wire;
        CHECK_THROWS_AS(take_pkt(view), Error);
    }
    std::string_view longest = "fff0";
    CHECK_FALSE(take_pkt(longest));
    CHECK_THROWS_AS(make_pkt(std::string(kMostPktData + 1, 'a')), Error);
}

TEST_CASE("the error packet fits") {
    CHECK(error_pkt("no") == "000aERR no");
    CHECK(error_pkt(std::string(70000, 'a')).size() < 1100);
}
