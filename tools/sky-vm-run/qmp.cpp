// SPDX-License-Identifier: MIT
#include <sky-vm-run/qmp.hpp>

#include <sky-vm-run/confine.hpp>
#include <sky-vm-run/processes.hpp>

#include <sky/error.hpp>
#include <sky/json.hpp>
#include <sky/lines.hpp>
#include <sky/log.hpp>

#include <algorithm>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sched.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace sky::vm {
namespace {

constexpr std::size_t kReplyMost = 64U << 10U;
constexpr int kLinesMost = 64; // events come between a command and its reply
constexpr std::chrono::seconds kLimit{4};

/// The socket as the machine sees it. Called with the machine's uid in its mount namespace.
Fd connect_monitor() {
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::string_view("/sky/run/qmp.sock").copy(static_cast<char*>(address.sun_path), 100);
    if (!fd || ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
        fail_errno("cannot connect to the hypervisor");
    }
    return fd;
}

std::string ask(int fd, LineReader& reader, std::string_view command) {
    write_all(fd, fmt::format("{{\"execute\":\"{}\"}}\r\n", command));
    for (int i = 0; i < kLinesMost; ++i) {
        const auto line = reader.next(std::chrono::milliseconds(kLimit));
        if (!line) {
            break;
        }
        if (auto word = qmp_word(*line); !word.empty()) {
            return word;
        }
    }
    fail(ExitCode::kUnavailable, "the hypervisor does not answer '{}'", command);
}

std::string speak(std::string_view what) {
    const Fd fd = connect_monitor();
    LineReader reader(fd.get(), kReplyMost);
    static_cast<void>(ask(fd.get(), reader, "qmp_capabilities"));
    return ask(fd.get(), reader,
               what == "powerdown"  ? "system_powerdown"
               : what == "continue" ? "cont"
                                    : "query-status");
}

} // namespace

std::string qmp_word(std::string_view line) {
    try {
        const Json value = parse_json(line, kReplyMost, "reply");
        if (!value.is_object() || !value.contains("return")) {
            return {};
        }
        const Json& result = value.at("return");
        if (!result.is_object() || !result.contains("status") || !result.at("status").is_string()) {
            return "ok";
        }
        const auto word = result.at("status").get<std::string>();
        const bool plain = !word.empty() && word.size() <= 32 &&
                           std::all_of(word.begin(), word.end(),
                                       [](char c) { return (c >= 'a' && c <= 'z') || c == '-'; });
        return plain ? word : "ok";
    } catch (const Error&) {
        return {};
    }
}

void qmp_verb(const Config& config, const MachinePath& path, std::string_view what) {
    const Vm vm(config, path);
    const auto running = load<Running>(vm.files.running());
    const auto alive = running ? alive_of(running->uid) : Alive{};
    const auto process = alive.guard ? pidfd_of(*alive.guard) : std::nullopt;
    if (!process) {
        fail(ExitCode::kUnavailable, "machine '{}' does not run", path.text());
    }
    if (::setns(process->get(), CLONE_NEWNS) != 0) {
        fail_errno("cannot enter the sandbox of '{}'", path.text());
    }
    const pid_t parent = ::getppid();
    become({running->uid, {}});
    // From here on nothing that the machine answers can do more than the machine itself. Ended by
    // _exit: what exit(3) may look for (/proc) is the machine's.
    try {
        die_with(parent);
        write_all(STDOUT_FILENO, speak(what) + "\n");
    } catch (const std::exception& e) {
        log::error("{}", e.what());
        ::_exit(static_cast<int>(ExitCode::kUnavailable));
    }
    ::_exit(0);
}

namespace {

const char* word_of(QmpAsk what) noexcept {
    switch (what) {
    case QmpAsk::kPowerdown:
        return "powerdown";
    case QmpAsk::kContinue:
        return "continue";
    case QmpAsk::kStatus:
        break;
    }
    return "status";
}

} // namespace

std::string qmp_ask(const Vm& vm, QmpAsk what, std::chrono::milliseconds limit) noexcept {
    try {
        auto answer = vm.self("qmp", {word_of(what)}).capture("", 256, limit, true);
        const auto end = answer.out.find('\n');
        return answer.exit_code == 0 && end != std::string::npos ? answer.out.substr(0, end) : "";
    } catch (const std::exception& e) {
        log::debug("qmp: {}", e.what());
        return {};
    }
}

} // namespace sky::vm
