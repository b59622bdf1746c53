// SPDX-License-Identifier: MIT
#pragma once

#include "sky-shell/receive-plan.hpp"

#include <filesystem>
#include <string_view>

namespace sky::shell {

/// The branches that a packed-refs file names. Throws Error(kIo) for a line that is none.
[[nodiscard]] Branches parse_packed_refs(std::string_view text);

/// All branches of a bare repo in git's "files" format. An unreadable or damaged one is
/// Error(kIo), never a branch less: a branch that is not seen stops a machine. (libgit2's iterator
/// skips what it can not read.)
[[nodiscard]] Branches read_branches(const std::filesystem::path& repo);

} // namespace sky::shell
