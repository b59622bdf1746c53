// SPDX-License-Identifier: MIT
// The ssh command line is the first thing that a stranger says to us.
#include "sky-shell/ssh-command.hpp"

#include <sky/error.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

using namespace sky;
using namespace sky::shell;

namespace {

void check(bool condition) {
    if (!condition) {
        std::abort();
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string command(reinterpret_cast<const char*>(data), size);
    static_cast<void>(client_part(command));
    try {
        const auto request = parse_ssh_command(command);
        // What is accepted is printable, and a repo that git gets to see is one plain word of it.
        check(command.find_first_of("\n\r\t") == std::string::npos);
        if (const auto* push = std::get_if<Push>(&request)) {
            check(speaks_git(command) && Repo::valid(push->repo.str()));
            const auto again = parse_ssh_command("git-receive-pack '" + push->repo.str() + "'");
            check(std::get<Push>(again).repo == push->repo);
        }
        if (const auto* fetch = std::get_if<Fetch>(&request)) {
            check(speaks_git(command) && command.find(fetch->repo.str()) != std::string::npos);
        }
    } catch (const Error& e) {
        check(e.code() != ExitCode::kBug);
    }
    return 0;
}
