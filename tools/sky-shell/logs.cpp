// SPDX-License-Identifier: MIT
#include "sky-shell/builds.hpp"
#include "sky-shell/ensure.hpp"
#include "sky-shell/supervise.hpp"
#include "sky-shell/verbs.hpp"

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/json.hpp>
#include <sky/lines.hpp>

#include <array>
#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <thread>
#include <unistd.h>

namespace sky::shell {
namespace {

/// Copies what is there now to stdout.
void copy_rest(int fd) {
    std::array<char, 65536> chunk{};
    for (;;) {
        const ssize_t n = ::read(fd, chunk.data(), chunk.size());
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            fail_errno("cannot read the log");
        }
        if (n == 0) {
            return;
        }
        write_all(STDOUT_FILENO, std::string_view(chunk.data(), static_cast<std::size_t>(n)));
    }
}

int build_log(const Session& session, const Logs& request) {
    const auto& ref = request.machine;
    const auto note = read_note(session, *request.build);
    const auto file = session.build(note.id) / (ref.machine.str() + ".log");
    const bool other = ref.repo && *ref.repo != note.repo;
    if (other || !std::filesystem::exists(file)) {
        fail(ExitCode::kRefused, "build '{}' has no log of machine '{}' (see 'builds')",
             note.id.str(), ref.machine.str());
    }
    const Fd fd = open_file(file, O_RDONLY | O_NOFOLLOW);
    ensure_behind(session, note.repo); // a build's log does not change by it
    for (;;) {
        // Asked before the copy: what is written after the answer is then still copied once.
        const bool over = !request.follow || read_note(session, note.id).ended ||
                          !std::filesystem::exists(session.outbox(note.id));
        copy_rest(fd.get());
        if (over || hung_up(STDOUT_FILENO)) {
            return 0;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
}

} // namespace

int logs_verb(const Session& session, const Logs& request) {
    if (request.build) {
        return build_log(session, request);
    }
    const auto machine = find_machine(session, request.machine);
    if (request.follow) {
        ensure_behind(session, machine.repo); // now: who follows may do so for hours
    }
    const Json line{{"v", 1},
                    {"repo", machine.repo.str()},
                    {"machine", machine.machine.str()},
                    {"follow", request.follow},
                    {"lines", 200}};
    Command command = tool_command(session, "sky-nomad-submit");
    command.arg("logs");
    const auto outcome = supervise(std::move(command), {.first = dump_json(line) + "\n"});
    if (!request.follow) {
        ensure_behind(session, machine.repo);
    }
    return outcome.kind == Outcome::Kind::kEnded ? outcome.exit_code : code(ExitCode::kIo);
}

} // namespace sky::shell
