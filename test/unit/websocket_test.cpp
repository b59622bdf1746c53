// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <sky-nomad-submit/exec-frames.hpp>
#include <sky/error.hpp>
#include <sky/nomad/websocket.hpp>

#include <string>

using namespace sky;
using sky::http::client_frame;
using sky::http::Opcode;
using sky::http::take_frame;

namespace {
constexpr std::array<char, 4> kMask{0x37, char(0xfa), 0x21, 0x3d};
}

TEST_CASE("websocket: the examples of RFC 6455, 1.3 and 5.7") {
    CHECK(http::accept_of("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    CHECK(client_frame(Opcode::kText, "Hello", kMask) ==
          "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    std::string in("\x81\x05Hello\x01\x03Hel\x80\x02lo", 16);
    auto frame = take_frame(in, 100);
    REQUIRE(frame);
    CHECK((frame->payload == "Hello" && frame->last && frame->opcode == Opcode::kText));
    frame = take_frame(in, 100);
    REQUIRE(frame);
    CHECK((frame->payload == "Hel" && !frame->last));
    frame = take_frame(in, 100);
    REQUIRE(frame);
    CHECK((frame->payload == "lo" && frame->last && frame->opcode == Opcode::kMore));
    CHECK(in.empty());
}

TEST_CASE("websocket: lengths of seven, sixteen and sixty-four bits") {
    for (const std::size_t size : {125U, 126U, 65535U, 65536U}) {
        const std::string payload(size, 'x');
        const auto sent = client_frame(Opcode::kBinary, payload, {0, 0, 0, 0});
        const std::size_t head = size < 126 ? 2 : size < 65536 ? 4 : 10;
        REQUIRE(sent.size() == head + 4 + size);
        std::string answered = sent; // as a server would say it: without a mask
        answered.erase(head, 4);
        answered[1] = static_cast<char>(answered[1] & 0x7f);
        for (std::size_t n = 0; n < head; ++n) {
            std::string part = answered.substr(0, n);
            CHECK_FALSE(take_frame(part, 100000));
        }
        const auto frame = take_frame(answered, 100000);
        REQUIRE(frame);
        CHECK(frame->payload == payload);
    }
}

TEST_CASE("websocket: what no server may send is refused") {
    std::string masked = client_frame(Opcode::kText, "Hello", kMask);
    CHECK_THROWS_AS(take_frame(masked, 100), Error);
    std::string extended("\xc1\x00", 2);
    CHECK_THROWS_AS(take_frame(extended, 100), Error);
    std::string endless("\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff", 10);
    CHECK_THROWS_AS(take_frame(endless, 100), Error);
}

TEST_CASE("nomad's exec: any byte both ways, and how the command ended") {
    const std::string bytes("\0\xff{\"}\n", 6);
    CHECK(submit::exec_input("hi") == R"({"stdin":{"data":"aGk="}})");
    CHECK(submit::exec_input_end() == R"({"stdin":{"close":true}})");
    auto output = submit::exec_output(R"({"stdout":{"data":"AP97In0K"}})");
    CHECK((output.out == bytes && output.err.empty() && !output.exit_code));
    output = submit::exec_output(R"({"stderr":{"data":"aGk="},"stdout":{"close":true}})");
    CHECK((output.out.empty() && output.err == "hi"));
    output = submit::exec_output(R"({"exited":true,"result":{"exit_code":69}})");
    CHECK(output.exit_code == 69);
    CHECK(submit::exec_output("{}").out.empty());
    for (const char* bad :
         {"", "[1]", "{", R"({"stdout":{"data":7}})", R"({"stdout":{"data":"?"}})"}) {
        CHECK_THROWS_AS(submit::exec_output(bad), Error);
    }
}
