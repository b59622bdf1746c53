// SPDX-License-Identifier: MIT
#pragma once

#include "sky-nomad-submit/scheduler.hpp"

#include <sky/config.hpp>
#include <sky/privilege.hpp>

#include <string>

namespace sky::submit {

/// What every verb works with, after it has become skyflake-deploy.
struct Desk {
    const Config& config;
    Scheduler& scheduler;
    Caller caller;
    std::optional<std::string> tenant = std::nullopt; ///< --tenant, for root
    bool json = false;
    bool dry_run = false;
    bool all = false;   ///< status of every machine
    bool watch = false; ///< status again and again

    /// The tenant that a request (its "tenant", if it has one) is about. Throws Error(kRefused).
    [[nodiscard]] Tenant tenant_of(const std::optional<std::string>& named) const;
};

// Each reads its requests from stdin and answers on stdout: doc/interfaces.md, "sky-nomad-submit".
// The exit code.

int identity(const Desk& desk);
int submit(const Desk& desk);
int ensure(const Desk& desk);
int status(const Desk& desk);
/// `verb`: stop, restart, redeploy or rollback.
int control(const Desk& desk, const std::string& verb);
int logs(const Desk& desk);
int connect(const Desk& desk);

} // namespace sky::submit
