// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/host-plan.hpp>

#include <fmt/format.h>

#include <functional>
#include <string>
#include <utility>

namespace sky::vm {

/// What is done to a host, one line each; only the lines with `dry_run`.
class Steps {
  public:
    explicit Steps(bool dry_run) : dry_run_(dry_run) {}
    /// Prints "WHAT" or "would WHAT" on stdout, and does it unless it is dry.
    void step(const std::string& what, const std::function<void()>& act);
    [[nodiscard]] bool dry_run() const noexcept { return dry_run_; }
    [[nodiscard]] std::size_t count() const noexcept { return count_; }

  private:
    bool dry_run_;
    std::size_t count_ = 0;
};

/// Where a program of the system is: in sbin, bin or NixOS's place for them. Throws
/// Error(kSystem) naming it.
[[nodiscard]] std::string program_path(const std::string& name);

/// Runs a program of the system. Throws Error(kSystem) naming it unless it ends with 0.
void run_program(const std::string& name, const std::vector<std::string>& arguments);

/// Whether systemd is pid 1 here.
[[nodiscard]] bool with_systemd();

/// Why an account can not be had on this host, in a sentence: somebody else has its name or its
/// uid.
[[nodiscard]] std::optional<std::string> clash_of(const HostAccount& account);

/// Makes the tenants' group and each account that is not there. Error(kConfig) for one that
/// clash_of tells of.
void make_accounts(const Config& config, const std::string& group,
                   const std::vector<HostAccount>& accounts, Steps& steps);

/// Its uid, if there is such an account.
[[nodiscard]] std::optional<uid_t> uid_of_account(const std::string& name);

/// Removes those that make_accounts made, and the group unless it is empty text; other accounts of
/// the same names stay.
void remove_accounts(const std::string& group, const std::vector<HostAccount>& accounts,
                     Steps& steps);

} // namespace sky::vm
