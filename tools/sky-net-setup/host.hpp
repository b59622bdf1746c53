// SPDX-License-Identifier: MIT
#pragma once

#include <sky-net-setup/members.hpp>
#include <sky-net-setup/plan.hpp>

#include <sky/fd.hpp>

#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace sky::net {

/// This host's network as it is, and the way from there to a plan. One at a time: holds
/// STATE/net/lock.
class Host {
  public:
    explicit Host(const Config& config) : config_(config) {}

    /// Machines that are up here, by what STATE/net/machines says.
    [[nodiscard]] std::vector<MachineNet> machines() const;
    [[nodiscard]] std::optional<MachineNet> machine(const MachinePath& path) const;
    void remember(const MachineNet& machine) const;
    void forget(const MachinePath& path) const;
    /// Whether somebody has a tap of it open, as far as it is on the host.
    [[nodiscard]] bool in_use(const MachineNet& machine) const;

    /// Removes what the plan does not name, makes what is missing, loads the rules. `touched`:
    /// bridges whose dnsmasq reads its files again in any case.
    void converge(const Plan& plan, const std::set<std::string>& touched) const;

    /// Whether all is as the last verb left it, whole, with what the configuration says now: then
    /// a machine needs its neighbours alone to join or leave. Each change says begin(), and end()
    /// when it has succeeded: whoever is killed in between, the next converge() mends.
    [[nodiscard]] bool stands(const Plan& plan) const;
    void begin() const;
    void end(const Plan& plan) const;
    /// The other machines of its segments.
    [[nodiscard]] std::vector<MachineNet> neighbours(const MachineNet& machine) const;
    /// What converge() would do for a machine that comes; `plan` is of its segments.
    void join(const Plan& plan, const MachineNet& machine) const;
    /// And for one that goes: `was` are its segments, `plan` is of those that others are on.
    void leave(const Plan& plan, const MachineNet& machine, const std::vector<Bridge>& was) const;

    /// The part of it that guards and connects: rules, links, forwarding. Removes nothing and
    /// serves nobody.
    void arrange(const Plan& plan) const;

    /// Makes the machine's taps in that namespace, but for those that are in use on the host.
    void make_taps(const MachineNet& machine, const Fd& netns) const;
    /// Moves them to the host and onto their segments, which the plan made, their rules first.
    /// Throws where there are no tables for these: somebody flushed them since `up`.
    void attach(const MachineNet& machine, const Plan& plan, const Fd& netns) const;
    /// Removes taps that never left the namespace.
    void drop_taps(const MachineNet& machine, const Fd& netns) const;

  private:
    void sweep(const Plan& plan) const;
    void connect(const Plan& plan, const std::string& rules) const;
    [[nodiscard]] Members members() const;
    void forwarding(const char* mark_name, const char* setting, bool wanted) const;
    [[nodiscard]] std::filesystem::path file(const MachinePath& path) const;
    const Config& config_;
};

/// Throws Error(kSomeFailed) unless the kernel has the tables that the configuration makes.
void check_rules(const Config& config);

} // namespace sky::net
