// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <sky-nomad-submit/nomad-console.hpp>

#include <string>

using sky::submit::Console;

namespace {

std::string frame(int file, const std::string& base64) {
    return R"({"Data":")" + base64 + R"(","File":"alloc/logs/vm.stdout.)" + std::to_string(file) +
           R"(","Offset":7})";
}

} // namespace

TEST_CASE("a console that is streamed anew goes on where it was", "[nomad]") {
    Console console;
    console.begin();
    CHECK(console.take("{}" + frame(0, "b25lCg==") + "{}") == "one\n");
    const auto two = frame(0, "dHdvCg==");
    CHECK(console.take(two.substr(0, 10)).empty()); // in pieces
    CHECK(console.take(two.substr(10)) == "two\n");

    console.begin(); // the connection was lost, in the middle of a frame
    CHECK(console.take(frame(0, "b25lCnR3b18=")) == "");  // the same length
    CHECK(console.take(frame(0, "b25lCg==")) == "one\n"); // and more
    CHECK(console.take(frame(1, "eA==")) == "x");         // the log was rotated

    console.begin();
    CHECK(console.take(frame(0, "b25lCg==") + frame(1, "eHk=")) == "y");
    console.begin(); // the first file is gone
    CHECK(console.take(frame(1, "eHk=") + frame(2, "eg==")) == "z");
    CHECK_FALSE(console.broken());
    CHECK(console.take("Unknown allocation}").empty());
    CHECK(console.broken());
}
