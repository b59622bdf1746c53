// SPDX-License-Identifier: MIT
#pragma once

#include "sky-shell/session.hpp"

namespace sky::shell {

/// git push: lock, repo, git receive-pack under supervision, then what must run. The exit code.
/// What it throws was found before git spoke: the caller answers with an error packet.
int receive(const Session& session, const Repo& repo);

/// git fetch. As receive.
int upload(const Session& session, const Repo& repo);

} // namespace sky::shell
