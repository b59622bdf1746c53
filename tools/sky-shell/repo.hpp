// SPDX-License-Identifier: MIT
#pragma once

#include "sky-shell/session.hpp"

#include <map>
#include <set>
#include <vector>

namespace sky::shell {

/// Makes the repo if it is not there, whole or not at all. Call it with the repo's lock held.
void create_repo(const Session& session, const Repo& repo);

/// Removes what a push that was killed, or had its power cut, left of git: locks of refs, which
/// would refuse every later push, objects under way, packs that no gc may touch. Call it with the
/// repo's lock held.
void sweep_repo(const Session& session, const Repo& repo) noexcept;

/// Throws Error(kRefused), in the words that a denied one would get, when there is no such repo.
void require_repo(const Session& session, const Repo& repo);

/// Repacks the repo once many pushes have left a pack each, and drops what refused pushes brought
/// two weeks ago. Call it with the lock held; what fails costs room and nothing else.
void tidy_repo(const Session& session, const Repo& repo) noexcept;

/// All repos of the tenant, by name. Throws Error when the directory can not be read.
[[nodiscard]] std::vector<Repo> list_repos(const Session& session);

/// Those of `revs` that are commits in the repo, each with its tree; one git for all.
/// Throws Error(kIo) for a repo that does not open.
[[nodiscard]] std::map<Revision, std::string> commits_among(const Session& session,
                                                            const Repo& repo, const BuildId& build,
                                                            const std::set<Revision>& revs);

} // namespace sky::shell
