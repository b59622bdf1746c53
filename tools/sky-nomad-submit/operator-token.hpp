// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>
#include <sky/nomad/client.hpp>

namespace sky::submit {

/// Nomad with the operator's own token, from NOMAD_TOKEN: no host keeps it. Error(kConfig) on a
/// single host, UsageError without the token.
[[nodiscard]] nomad::Client operator_client(const Config& config);

} // namespace sky::submit
