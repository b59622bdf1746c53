// SPDX-License-Identifier: MIT
#include <sky/terminal.hpp>

#include <sky/fd.hpp>

#include <unistd.h>

namespace sky {

std::string for_terminal(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (const char c : text) {
        if (c != '\r') {
            out += c == '\n' || c == '\t' || (c >= ' ' && c <= '~') ? c : '?';
        }
    }
    return out;
}

void write_guests(int fd, std::string_view text) {
    if (::isatty(fd) == 1) {
        write_all(fd, for_terminal(text));
    } else {
        write_all(fd, text);
    }
}

} // namespace sky
