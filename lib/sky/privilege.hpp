// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>
#include <sky/process.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>

namespace sky {

/// On whose behalf a service account works.
struct Caller {
    std::optional<Tenant>
        tenant;          ///< set when a tenant called (SUDO_UID): the only tenant it may speak of
    bool root = false;   ///< root called: requests name the tenant
    bool deploy = false; ///< skyflake-deploy called (sky-vm-run)

    /// The tenant a request is about: `named` must be absent or the same for a tenant, and is
    /// needed otherwise. Throws Error(kRefused).
    [[nodiscard]] Tenant tenant_for(const std::optional<std::string>& named) const;
};

struct Account {
    uid_t uid = 0;
    gid_t gid = 0;
};

/// The uid and group of a Unix account. Throws Error(kConfig) when there is none.
[[nodiscard]] Account account(const std::string& name);

/// Makes sure that this process is `name` ("root" too) before it does the work of TOOL VERB.
/// - It is already: environment reduced, umask 022, cwd /, returns who called.
/// - It is root and `name` is not: becomes the account (groups, gid, uid; for good).
/// - Otherwise: replaces itself by `sudo -n -u NAME -- BIN/TOOL --config FILE VERB`, the one line
/// that sudoers allows. Throws UsageError instead when the caller gave the verb `options`, which
/// would be lost on the way.
/// Throws Error(kRefused) for a caller that is neither tenant nor root nor skyflake-deploy.
[[nodiscard]] Caller cross(const Config& config, const std::string& name, std::string_view tool,
                           std::string_view verb, bool options = false);

/// The command by which this process has TOOL VERB run as `name`: through sudo, or directly when it
/// is that account or root already (the tool then becomes the account itself). For callers that go
/// on themselves.
[[nodiscard]] Command crossing_command(const Config& config, const std::string& name,
                                       std::string_view tool, std::string_view verb);

/// Becomes uid/gid for good: no supplementary groups, no capabilities left. Throws SysError.
void drop_to(Account account);

} // namespace sky
