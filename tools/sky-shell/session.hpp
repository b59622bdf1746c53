// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>
#include <sky/name.hpp>
#include <sky/process.hpp>
#include <sky/state.hpp>

#include <filesystem>
#include <string>

namespace sky::shell {

/// Who is at the door and where their things are. `config` must outlive it.
struct Session {
    const Config& config;
    Tenant tenant;
    State state;

    [[nodiscard]] std::filesystem::path repo(const Repo& name) const {
        return state.repo(tenant, name);
    }
    [[nodiscard]] std::filesystem::path lock(const Repo& name) const {
        return state.locks(tenant) / (name.str() + ".lock");
    }
    [[nodiscard]] std::filesystem::path build(const BuildId& id) const {
        return state.builds(tenant) / id.str();
    }
    [[nodiscard]] std::filesystem::path outbox(const BuildId& id) const {
        return state.outbox(tenant) / id.str();
    }
};

/// The session of the uid that runs us: checks the storage and resets what a caller could have left
/// behind (umask, core dumps). Throws Error: kRefused for a uid that is no tenant, kUnavailable.
[[nodiscard]] Session open_session(const Config& config);

/// Moves this process into the tenant's cgroups, so that everything it starts is counted there.
/// Throws Error(kSystem): without its limits nothing is started.
void join_cgroups(const Session& session);

/// The client's address from sshd's SSH_CONNECTION, or "this host".
[[nodiscard]] std::string client_address();

/// Another tool of ours with this configuration, as the tenant: PATH and SKY_CONFIG set.
[[nodiscard]] Command tool_command(const Session& session, std::string_view tool);

} // namespace sky::shell
