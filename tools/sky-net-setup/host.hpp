// SPDX-License-Identifier: MIT
#pragma once

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

    /// The part of it that guards and connects: rules, links, forwarding. Removes nothing and
    /// serves nobody.
    void arrange(const Plan& plan) const;

    /// Makes the machine's taps in that namespace, but for those that are in use on the host.
    void make_taps(const MachineNet& machine, const Fd& netns) const;
    /// Moves them to the host and onto their segments, which the plan made. Nothing for those that
    /// are there.
    void attach(const MachineNet& machine, const Plan& plan, const Fd& netns) const;
    /// Removes taps that never left the namespace.
    void drop_taps(const MachineNet& machine, const Fd& netns) const;

  private:
    void sweep(const Plan& plan) const;
    void forwarding(const char* mark_name, const char* setting, bool wanted) const;
    [[nodiscard]] std::filesystem::path file(const MachinePath& path) const;
    const Config& config_;
};

} // namespace sky::net
