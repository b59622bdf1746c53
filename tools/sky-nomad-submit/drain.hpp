// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>

#include <chrono>
#include <string>

namespace sky::submit {

/// For root, with the operator's token in NOMAD_TOKEN (nomad/operator.hcl says what it must be good
/// for), which is kept on no host. The host takes no more machines; those that are there leave it
/// one by one, each shut down first and up elsewhere before the next goes. What is left at the
/// deadline goes at once. A machine with volumes that lie there stops and waits for the host.
/// kSomeFailed when one did not come up elsewhere.
int drain_host(const Config& config, const std::string& host, std::chrono::seconds deadline,
               bool dry_run);

/// The host takes machines again, and those that wait for it come back.
int undrain_host(const Config& config, const std::string& host, bool dry_run);

} // namespace sky::submit
