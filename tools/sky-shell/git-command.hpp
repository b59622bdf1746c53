// SPDX-License-Identifier: MIT
#pragma once

#include "sky-shell/session.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sky::shell {

/// What git is told for one repo, on top of what stands in the repo: where the hooks are, what a
/// push may bring, nothing that runs by itself.
[[nodiscard]] std::vector<std::pair<std::string, std::string>>
git_settings(const Config& config, const std::filesystem::path& repo);

/// git with an environment made from nothing, for `repo` of the tenant: settings by
/// GIT_CONFIG_COUNT, neither the system's nor a user's configuration, PATH with our tools first.
/// `build` goes to the hooks as SKY_BUILD.
[[nodiscard]] Command git_command(const Session& session, const Repo& repo, const BuildId& build);

/// The same for a hook that is called without git.
[[nodiscard]] Command git_command(const Session& session, const Repo& repo, const BuildId& build,
                                  const std::filesystem::path& program);

/// GIT_PROTOCOL as the client may set it ("version=2"), or nothing.
[[nodiscard]] std::optional<std::string> checked_protocol(std::string_view text);

} // namespace sky::shell
