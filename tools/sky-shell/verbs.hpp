// SPDX-License-Identifier: MIT
#pragma once

#include "sky-shell/receive-plan.hpp"
#include "sky-shell/session.hpp"
#include "sky-shell/ssh-command.hpp"

#include <optional>

namespace sky::shell {

/// A machine found: its repo, and its branch's commit (nothing when there is no such branch).
struct Found {
    Repo repo;
    Machine machine;
    Revision rev;
};

/// The branch that a person means. Throws Error: kRefused when there is none, kUsage when the name
/// alone is not enough.
[[nodiscard]] Found find_machine(const Session& session, const MachineRef& ref);

int whoami_verb(const Session& session);
int status_verb(const Session& session, const Status& request);
int change_verb(const Session& session, const Change& request);
int connect_verb(const Session& session, const Connect& request);
int logs_verb(const Session& session, const Logs& request);

/// The text of `help`.
[[nodiscard]] std::string help_text(const Config& config, const Tenant& tenant);

} // namespace sky::shell
