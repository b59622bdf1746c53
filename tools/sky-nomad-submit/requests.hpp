// SPDX-License-Identifier: MIT
#pragma once

#include "sky-nomad-submit/plan.hpp"

#include <sky/json.hpp>

namespace sky::submit {

// What requests of several verbs have in common. All throw Error(kData) naming the key.

/// "v":1
void check_version(Fields& fields);
/// "branches": revisions by branch name.
[[nodiscard]] Branches branches_of(Fields& fields);

} // namespace sky::submit
