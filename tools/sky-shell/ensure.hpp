// SPDX-License-Identifier: MIT
#pragma once

#include "sky-shell/session.hpp"

#include <sky/lock.hpp>

#include <functional>
#include <optional>
#include <string>

namespace sky::shell {

/// Takes the lock of a repo, telling the client what it waits for, at most push.wait_s. Gives up
/// when the client is gone. Throws Error(kBusy) that names the holder.
[[nodiscard]] Lock wait_for_lock(const Session& session, const Repo& repo, const std::string& what);

struct Ensured {
    int code = 0;
    std::string why; ///< one line about what is wrong, when code is not 0
};

/// Hands the repo's branches to sky-nomad-submit, which finishes what is missing. Call it with the
/// repo's lock held: branches must not move meanwhile. Progress goes to stderr.
/// Throws Error for a repo that can not be read.
[[nodiscard]] Ensured ensure_locked(const Session& session, const Repo& repo,
                                    const BuildId& contact);

/// As ensure_locked, at a contact that is no push. Nothing when somebody holds the lock: they do
/// it.
[[nodiscard]] std::optional<Ensured> ensure(const Session& session, const Repo& repo);

/// `sky-shell ensure`: all repos, or those named. The exit code.
int ensure_repos(const Session& session, const std::vector<std::string>& names);

} // namespace sky::shell
