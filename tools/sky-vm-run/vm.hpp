// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/cgroup.hpp>
#include <sky-vm-run/files.hpp>
#include <sky-vm-run/view.hpp>
#include <sky/config.hpp>
#include <sky/process.hpp>
#include <sky/record.hpp>
#include <sky/registry.hpp>
#include <sky/spec.hpp>

#include <map>
#include <string>
#include <vector>

namespace sky::vm {

/// A machine on this host: its names joined to paths. Refers to the configuration.
struct Vm {
    Vm(const Config& config_, MachinePath path_);

    const Config& config;
    MachinePath path;
    State state;
    MachineFiles files;

    /// Where the sandbox's view takes things from.
    [[nodiscard]] ViewSources sources() const;
    /// Where the files of its volumes lie, by class.
    [[nodiscard]] std::map<std::string, std::filesystem::path> volume_directories() const;
    [[nodiscard]] std::vector<Cgroup> cgroups(const Spec& spec) const;
    /// Those to remove when no spec is known any more.
    [[nodiscard]] std::vector<Cgroup> cgroups() const;
    /// `sky-vm-run --config FILE VERB T.R.M MORE...`
    [[nodiscard]] Command self(const char* verb, const std::vector<std::string>& more = {}) const;
    /// Its entry in the registry. Error(kRefused) when it has none; Error(kConfig) when its uids
    /// lie outside machine_uids.
    [[nodiscard]] Registry::Machine entry() const;
};

/// Writes state.json, for root and for the account that deploys. Throws SysError.
void save_state(const Vm& vm, const StateLine& state);

/// Compares a spec with the record of its deployment: store path and NAR hash, and that the runner
/// is part of the closure. Error(kRefused).
void check_record(const Spec& spec, const Record& record);

/// Checks what a spec asks of this host once more against configuration and registry: tenant,
/// hypervisor, sizes, networks, MACs, machine id, storage classes, deadlines. Error(kRefused)
/// naming the key. Pure.
void check_spec(const Spec& spec, const Config& config, const Registry::Machine& entry);

} // namespace sky::vm
