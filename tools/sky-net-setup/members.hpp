// SPDX-License-Identifier: MIT
#pragma once

#include <sky-net-setup/plan.hpp>

#include <filesystem>

namespace sky::net {

/// Who is up here on each segment, a line each in DIRECTORY/<bridge>.machines: what a port needs to
/// know of its neighbours without reading every machine's file, from which it is made. Not to be
/// trusted after a verb that was killed: Host::stands().
class Members {
  public:
    explicit Members(std::filesystem::path directory) : directory_(std::move(directory)) {}

    /// Those on the segment of `port` but for `path`, as if each had that one interface. Their
    /// owners and queues are not known here.
    [[nodiscard]] std::vector<MachineNet> beside(const Port& port, const MachinePath& path,
                                                 const std::string& prefix) const;
    /// Whether any segment has anybody.
    [[nodiscard]] bool any() const;

    void add(const MachineNet& machine) const;
    void remove(const MachineNet& machine) const;
    /// In place of all that is there.
    void replace(const std::vector<MachineNet>& machines) const;

  private:
    [[nodiscard]] std::filesystem::path file(const std::string& bridge) const;
    [[nodiscard]] std::vector<std::string> others(const std::string& bridge,
                                                  const MachinePath& path) const;
    void write(const std::string& bridge, const std::vector<std::string>& lines) const;
    std::filesystem::path directory_;
};

} // namespace sky::net
