// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>

namespace sky::submit {

/// For operators (root), by hand or by a timer: has `sky-shell ensure` finish what each tenant's
/// branches ask for, as that tenant, then compares records with what runs: resumes what should run
/// and does not, stops what runs and should not. `dry_run`: prints the second half's plan and
/// changes nothing. 0, or kSomeFailed; a repository that can not be read is a failure, never an
/// empty list of branches.
int reconcile(const Config& config, bool dry_run);

} // namespace sky::submit
