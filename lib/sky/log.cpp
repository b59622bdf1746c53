// SPDX-License-Identifier: MIT
#include <sky/log.hpp>

#include <string>
#include <unistd.h>

namespace sky::log {
namespace {

std::string& tool_name() {
    static std::string name = "sky";
    return name;
}
Level least_level = Level::kInfo;

void put(std::string line) noexcept {
    for (char& c : line) {
        const auto u = static_cast<unsigned char>(c);
        if ((u < 0x20 && c != '\t') || u == 0x7f) {
            c = '?';
        }
    }
    line.push_back('\n');
    // One write keeps lines of several processes apart. Nobody to tell when it fails.
    [[maybe_unused]] const auto n = ::write(STDERR_FILENO, line.data(), line.size());
}

} // namespace

void setup(std::string_view tool, Level least) noexcept {
    tool_name() = tool;
    least_level = least;
}

void write(Level level, std::string_view text) noexcept {
    if (level > least_level) {
        return;
    }
    const char* word = level == Level::kError     ? "error: "
                       : level == Level::kWarning ? "warning: "
                       : level == Level::kDebug   ? "debug: "
                                                  : "";
    put(tool_name() + ": " + word + std::string(text));
}

void say(std::string_view text) noexcept {
    put(std::string(text));
}

} // namespace sky::log
