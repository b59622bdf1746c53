// SPDX-License-Identifier: MIT
#pragma once

#include "sky-shell/session.hpp"

#include <string>
#include <vector>

namespace sky::shell {

/// The hook proc-receive: git's protocol on stdin and stdout, `pipe` built and cached each branch
/// (doc/interfaces.md "The pipe"). stderr is for the client. Throws Error: git then refuses all.
int proc_receive(const Session& session, const std::vector<std::string>& pipe);

/// The hook post-receive: git's "old new ref" lines on stdin, lines for sky-nomad-submit on stdout.
int post_receive();

} // namespace sky::shell
