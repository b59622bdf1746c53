// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>

namespace sky::vm {

struct HostSetupOptions {
    bool dry_run = false; ///< say what would be done, change nothing
    bool undo = false;    ///< take it all back
    bool data = false;    ///< with `undo`: repositories, volumes, configuration too
};

/// Verb `host-setup`: makes this Debian server a host, as `config_file` says; one that is not there
/// is made. Says each step on stdout, and only those that are needed. With `undo` what it made is
/// removed; machines that run are shut down.
/// Throws Error(kRefused) unless it is root's, or on NixOS, which has a module for this;
/// Error(kBusy) while machines live that it can not shut down.
int host_setup(const std::filesystem::path& config_file, const HostSetupOptions& options);

} // namespace sky::vm
