// SPDX-License-Identifier: MIT
#pragma once

#include <sky-build/request.hpp>
#include <sky/config.hpp>

#include <vector>

namespace sky::build {

/// Builds all requests for a tenant, whose uid this process has, and writes each object to stdout
/// as soon as it is decided. Returns the exit code: 1 if a machine failed, 128+N after a signal, 74
/// when nobody reads stdout any more.
int run_session(const Config& config, const Tenant& tenant, std::vector<Request> requests);

} // namespace sky::build
