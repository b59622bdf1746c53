// SPDX-License-Identifier: MIT
#include <sky-vm-run/network.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/json.hpp>
#include <sky/privilege.hpp>
#include <sky/process.hpp>

#include <arpa/inet.h>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

namespace sky::vm {

std::string net_request(const Spec& spec, pid_t guard) {
    Json request{{"v", 1},
                 {"tenant", spec.path.tenant.str()},
                 {"repo", spec.path.repo.str()},
                 {"machine", spec.path.machine.str()},
                 {"interfaces", Json::array()}};
    if (guard != 0) {
        request["netns"] = fmt::format("/proc/{}/ns/net", guard);
    }
    for (const auto& i : spec.interfaces) {
        request["interfaces"].push_back(Json{
            {"tap", i.tap}, {"mac", i.mac}, {"network", i.network.str()}, {"queues", i.queues}});
    }
    return dump_json(request) + "\n";
}

void net_setup(const Vm& vm, const char* verb, const Spec& spec, pid_t guard) {
    if (spec.interfaces.empty()) {
        return;
    }
    const auto done =
        Command(vm.config.tool("sky-net-setup"))
            .args({"--config", vm.config.file.string(), verb})
            .capture(net_request(spec, guard), 1U << 20U, std::chrono::seconds(60), true);
    if (done.exit_code != 0) {
        const auto end = done.err.find_last_not_of('\n');
        const auto from = done.err.rfind('\n', end);
        const auto last = done.err.substr(from == std::string::npos ? 0 : from + 1);
        fail(ExitCode::kSystem, "sky-net-setup {} ended with {}: {}", verb, done.exit_code,
             printable(last.substr(0, last.find('\n')), 200));
    }
}

bool dns_died(const Config& config) noexcept {
    try {
        const uid_t dns = account(config.accounts.dns).uid;
        for (const auto& entry : std::filesystem::directory_iterator(State(config).net())) {
            if (entry.path().extension() != ".pid") {
                continue;
            }
            const auto text = read_file_if_exists(entry.path(), 64).value_or("");
            pid_t pid = 0;
            std::from_chars(text.data(), text.data() + text.size(), pid);
            struct stat process {};
            if (pid > 1 && (::stat(fmt::format("/proc/{}", pid).c_str(), &process) != 0 ||
                            process.st_uid != dns || !alive(pid))) {
                return true;
            }
        }
    } catch (const std::exception&) { // a bridge that goes takes its file along: the next look
    }
    return false;
}

bool tcp_answers(const std::string& address, std::uint16_t port,
                 std::chrono::milliseconds limit) noexcept {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    if (::inet_pton(AF_INET, address.c_str(), &to.sin_addr) != 1) {
        return false;
    }
    const Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) {
        return false;
    }
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) == 0) {
        return true;
    }
    pollfd entry{fd.get(), POLLOUT, 0};
    int error = 0;
    socklen_t size = sizeof error;
    return errno == EINPROGRESS && ::poll(&entry, 1, static_cast<int>(limit.count())) == 1 &&
           ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
}

} // namespace sky::vm
