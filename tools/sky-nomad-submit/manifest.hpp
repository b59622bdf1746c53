// SPDX-License-Identifier: MIT
#pragma once

#include <sky/spec.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sky::submit {

/// manifest.json of a deployment: what a machine asks for. Data that a tenant's evaluation made;
/// nothing is granted by it. Field for field the object of doc/interfaces.md, "Manifest".
struct Manifest {
    struct Interface {
        std::string mac;
        Network network;
        std::uint32_t queues = 1;
        bool operator==(const Interface&) const = default;
    };
    struct Disk {
        Volume name;
        std::uint64_t size_mib = 0;
        std::optional<std::string> storage_class; ///< nothing: the host's default
        std::optional<std::string> mount;         ///< for the guest alone; nothing: a bare disk
        bool read_only = false;
        bool operator==(const Disk&) const = default;
    };

    /// Where it would rather run; the operator grants it.
    struct Asked {
        std::vector<std::string> placements; ///< names that the operator gave
        std::vector<std::string> apart;      ///< MACHINE or REPO/MACHINE: on no host that has these
        bool operator==(const Asked&) const = default;
    };

    std::string system;
    std::string hypervisor;
    std::uint32_t vcpu = 1;
    std::uint64_t mem_mib = 0;
    std::string machine_id;
    StorePath runner;
    std::optional<StorePath> toplevel;
    Spec::Store store = Spec::Store::kVirtiofs;
    std::vector<Interface> interfaces; ///< number K is sky<K>
    std::vector<Disk> volumes;
    Spec::Ready ready;
    Spec::OnPoweroff on_poweroff = Spec::OnPoweroff::kRestart;
    Asked asked = {}; ///< "placement" in JSON, may be left out

    bool operator==(const Manifest&) const = default;

    /// Strict: unknown key, wrong type, out of range, duplicate name, MAC or key is Error(kData)
    /// "manifest.KEY: ..." naming the key, never the value.
    [[nodiscard]] static Manifest parse(std::string_view json);
};

} // namespace sky::submit
