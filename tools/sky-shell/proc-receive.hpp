// SPDX-License-Identifier: MIT
#pragma once

#include "sky-shell/session.hpp"

#include <string>
#include <vector>

namespace sky::shell {

/// The hook proc-receive: git's protocol on stdin and stdout, `pipe` built and cached each branch
/// (doc/interfaces.md "The pipe"). stderr is for the client. Throws Error: git then refuses all.
int proc_receive(const Session& session, const std::vector<std::string>& pipe);

/// The hook post-receive: has sky-nomad-submit start, and stop, what the branches say now.
int post_receive(const Session& session);

/// A supervisor that was killed has let go of the repo's lock; its git and we live on, and must not
/// move a branch, nor act for one, beside the next push. Ends our whole process group then, git
/// included.
void end_when_orphaned(const Session& session, const Repo& repo, const BuildId& build);

} // namespace sky::shell
