// SPDX-License-Identifier: MIT
#pragma once
// What the tests of sky-nomad-submit share: a configuration, a machine with a deployment, a host
// that does as it is told.

#include <sky-nomad-submit/deployer.hpp>
#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/json.hpp>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <unistd.h>

namespace sky::submit::test {

inline MachinePath path(const std::string& tenant, const std::string& repo,
                        const std::string& machine) {
    return {Tenant::parse(tenant), Repo::parse(repo), Machine::parse(machine)};
}

inline Revision rev(char digit) {
    return Revision::parse(std::string(40, digit));
}

inline StorePath store_path(const std::string& name) {
    return StorePath::parse("/nix/store/" + std::string(32, '0') + "-" + name);
}

inline Config config(const std::filesystem::path& state = "/nowhere") {
    Config out;
    out.host = "n1";
    out.state = state;
    out.shared = state;
    out.tenants[Tenant::parse("alice")] = {
        .uid = 3001,
        .quota = {.machines = 4, .vcpu = 4, .mem_mib = 2048, .disk_mib = 8192, .cache_mib = 1},
        .suspended = {}};
    out.tenants[Tenant::parse("bob")] = {.uid = 3002, .quota = {}, .suspended = {}};
    out.machine.vcpu_max = 3;
    out.machine.mem_max_mib = 1024;
    out.networks[Network::parse("default")].ipv4 = "10.88.0.0/16";
    out.networks[Network::parse("default")].tenant_prefix = 24;
    return out;
}

/// A manifest that fits what the registry gave the machine.
inline Json manifest_for(const Registry::Machine& machine) {
    return {{"v", 1},
            {"system", "x86_64-linux"},
            {"hypervisor", "qemu"},
            {"vcpu", 1},
            {"mem_mib", 512},
            {"machine_id", machine.machine_id},
            {"runner", store_path("runner").str()},
            {"toplevel", nullptr},
            {"store", "virtiofs"},
            {"interfaces",
             {{{"id", "sky0"},
               {"mac", machine_mac(machine.index, 0)},
               {"network", "default"},
               {"queues", 1}}}},
            {"volumes",
             {{{"name", "root"},
               {"size_mib", 2048},
               {"class", nullptr},
               {"mount", "/"},
               {"read_only", false}}}},
            {"ready", {{"type", "none"}}},
            {"on_poweroff", "restart"}};
}

inline Record record_of(const MachinePath& machine, const Revision& revision,
                        const Json& manifest) {
    const auto deployment = store_path("skyflake-" + machine.machine.str() + revision.str()[0]);
    const auto runner = store_path("runner");
    const auto entry = [](const StorePath& p) {
        return RecordPath{.path = p, .nar_hash = {}, .nar_size = 1, .references = {}};
    };
    Record out{.machine = machine,
               .rev = revision,
               .build = BuildId::parse(std::string(16, '0')),
               .created = "2026-11-22T10:00:00Z",
               .deployment = deployment,
               .nar_hash = {},
               .closure = {entry(runner), entry(deployment)},
               .manifest = dump_json(manifest)};
    out.closure.back().references = {runner};
    return out;
}

struct Scratch {
    std::filesystem::path path;
    Scratch() {
        std::string text = (std::filesystem::temp_directory_path() / "sky-unit-XXXXXX").string();
        if (::mkdtemp(text.data()) == nullptr) {
            fail_errno("cannot make a directory");
        }
        path = text;
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    ~Scratch() { std::filesystem::remove_all(path); }
};

} // namespace sky::submit::test
