// SPDX-License-Identifier: MIT
#include <sky-shell/session.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>

#include <algorithm>
#include <cstdlib>
#include <fcntl.h>
#include <string_view>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

namespace sky::shell {

Session open_session(const Config& config) {
    const auto tenant = config.tenant_of(::getuid());
    if (!tenant || ::geteuid() != ::getuid()) {
        fail(ExitCode::kRefused, "uid {} is no tenant of this host (the operator adds tenants)",
             ::getuid());
    }
    ::umask(022); // what is private lies in directories of mode 0700
    const rlimit none{0, 0};
    if (::setrlimit(RLIMIT_CORE, &none) != 0) {
        fail_errno("cannot switch core dumps off");
    }
    check_storage(config);
    return Session{config, *tenant, State(config)};
}

void join_cgroups(const Session& session) {
    for (const auto& directory : session.config.cell.cgroups) {
        const auto group = directory / session.tenant.str();
        // Of version 1, where it is ours: for a process of one thread the same, without the
        // kernel's lock that all forks of the host wait for.
        const bool one = ::access((group / "tasks").c_str(), W_OK) == 0;
        const Fd procs = open_file(group / (one ? "tasks" : "cgroup.procs"), O_WRONLY);
        write_all(procs.get(), "0"); // the writing process itself
    }
}

std::string client_address() {
    const char* text = std::getenv("SSH_CONNECTION");
    const std::string_view connection = text == nullptr ? "" : text;
    const auto address = connection.substr(0, connection.find(' '));
    const bool good = !address.empty() && address.size() < 64 &&
                      address.find_first_not_of("0123456789abcdefABCDEF.:%") == address.npos;
    return good ? std::string(address) : "this host";
}

Command tool_command(const Session& session, std::string_view tool) {
    const auto& config = session.config;
    Command command(config.tool(tool));
    command.args({"--config", config.file.string()});
    command.env("PATH", config.bin.string() + ":/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", session.state.tenant(session.tenant).string())
        .env("SKY_CONFIG", config.file.string());
    return command;
}

} // namespace sky::shell
