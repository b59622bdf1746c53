// SPDX-License-Identifier: MIT
#pragma once

#include <sky-build/cell.hpp>
#include <sky-build/request.hpp>
#include <sky/config.hpp>
#include <sky/fd.hpp>
#include <sky/scratch.hpp>

#include <filesystem>
#include <vector>

namespace sky::build {

/// What commands in `cell` (tenants/T/cell) share, with `scratch` for /tmp and /etc. Makes the
/// cell's directories. Throws SysError.
[[nodiscard]] CellPlan plan_cell(const Config& config, const std::filesystem::path& cell,
                                 const Scratch& scratch);

/// An flock(2) on `cell`/lock, shared by those who build, exclusive for who collects garbage; with
/// LOCK_NB nothing if it can not be had now. Throws SysError.
[[nodiscard]] Fd hold_cell(const std::filesystem::path& cell, int operation);

/// Builds all requests for a tenant, whose uid this process has, and writes each object to stdout
/// as soon as it is decided. Returns the exit code: 1 if a machine failed, 128+N after a signal, 74
/// when nobody reads stdout any more.
int run_session(const Config& config, const Tenant& tenant, std::vector<Request> requests);

} // namespace sky::build
