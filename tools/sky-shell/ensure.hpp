// SPDX-License-Identifier: MIT
#pragma once

#include "sky-shell/session.hpp"

#include <sky/lock.hpp>

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace sky::shell {

/// Takes the lock of a repo, telling the client what it waits for, at most push.wait_s. Gives up
/// when the client is gone. Throws Error(kBusy) that names the holder.
[[nodiscard]] Lock wait_for_lock(const Session& session, const Repo& repo, const std::string& what);

struct Ensured {
    int code = 0;
    std::string why; ///< one line about what is wrong, when code is not 0
    std::map<Machine, Revision>
        uncached; ///< the cache lacks their deployments, or has them damaged
};

struct EnsureLimits {
    /// What is not done by then goes on by itself, unseen. Enough for every machine of a repo to
    /// start; nobody holds a repo's lock for longer.
    std::chrono::seconds most{30 * 60};
    bool dry_run = false;
};

/// Hands the repo's branches to sky-nomad-submit, which finishes what is missing. Call it with the
/// repo's lock held: branches must not move meanwhile. Progress goes to stderr.
/// Throws Error for a repo that can not be read.
[[nodiscard]] Ensured ensure_locked(const Session& session, const Repo& repo,
                                    const BuildId& contact, const EnsureLimits& limits = {});

/// As ensure_locked, for the hook post-receive: the client hears it through git. Leaves how it
/// ended beside the build's note, for whoever holds the lock.
void ensure_in_hook(const Session& session, const Repo& repo, const BuildId& build);
/// What the hook left, if it came to its end and no branch has moved since.
[[nodiscard]] std::optional<Ensured> ensured_in_hook(const Session& session, const Repo& repo,
                                                     const BuildId& build);

/// At a contact that is no push, once what was asked is answered, or before a stream begins: leaves
/// `sky-shell ensure --behind` to work by itself. Never throws, never waits for a machine.
/// Nothing named: all repos.
void ensure_behind(const Session& session, const std::optional<Repo>& repo) noexcept;

struct EnsureOptions {
    std::vector<std::string> repos; ///< all, when none is named
    bool dry_run = false;           ///< say what would be done
    bool behind = false;            ///< leave at once and go on without a terminal, in short time
};

/// `sky-shell ensure`. A repo whose lock somebody holds is left to them. The exit code.
int ensure_verb(const Session& session, const EnsureOptions& options);

} // namespace sky::shell
