// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>
#include <sky/name.hpp>

#include <filesystem>
#include <set>

namespace sky::submit {

/// The tenant's machines for which root runs `sky-vm-run --config FILE run T.R.M`, from what /proc
/// shows to everybody. Sees too little where /proc hides other users' processes, never too much: a
/// command line can be made up by anybody, root's uid can not.
[[nodiscard]] std::set<MachinePath> supervised(const Config& config, const Tenant& tenant,
                                               const std::filesystem::path& proc = "/proc");

} // namespace sky::submit
