// SPDX-License-Identifier: MIT
#pragma once

#include <sky/name.hpp>

#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>

namespace sky::shell {

/// A machine as a person writes it: "infra/www", or "www" where that is unique.
struct MachineRef {
    std::optional<Repo> repo;
    Machine machine;
};

struct Push {
    Repo repo;
};
struct Fetch {
    Repo repo;
};
struct Help {};
struct Whoami {};
struct Status {
    std::optional<Repo> repo;
    std::optional<Machine> machine;
    bool json = false;
};
struct Builds {
    std::optional<Repo> repo;
    bool json = false;
};
struct Logs {
    MachineRef machine;
    bool follow = false;
    std::optional<BuildId> build;
};
struct Connect {
    MachineRef machine;
    std::uint16_t port = 22;
};
enum class ChangeVerb { kStop, kRestart, kRedeploy, kRollback };
struct Change {
    ChangeVerb verb;
    MachineRef machine;
    std::optional<Revision> to; ///< rollback alone
};

using Request = std::variant<Push, Fetch, Help, Whoami, Status, Builds, Logs, Connect, Change>;

/// The verb as it is written on both sides: "stop".
[[nodiscard]] std::string_view verb_text(ChangeVerb verb) noexcept;

/// What an ssh client asked for, SSH_ORIGINAL_COMMAND. The only parser of it; nothing of it reaches
/// a shell. Empty is help. Throws Error: kUsage for what is no command of ours, kData for a name
/// that is none, kRefused for file transfer.
[[nodiscard]] Request parse_ssh_command(std::string_view command);

/// True when the client on the other side is git, which reads pkt-lines rather than text.
[[nodiscard]] bool speaks_git(std::string_view command) noexcept;

/// The argument of `sky-shell -c X`, X as sshd hands it to a login shell: empty when X is the
/// ForceCommand (sky-shell itself), else X.
[[nodiscard]] std::string_view client_part(std::string_view login_command) noexcept;

} // namespace sky::shell
