// SPDX-License-Identifier: MIT
#include <sky/error.hpp>
#include <sky/json.hpp>
#include <sky/registry.hpp>
#include <sky/spec.hpp>

#include <arpa/inet.h>
#include <nlohmann/json.hpp>
#include <string_view>
#include <unordered_set>

namespace sky {
namespace {

using Disks = std::map<std::string, Registry::Disk>;

Registry::Disk parse_disk(const Json& value, const std::string& path) {
    Fields fields(value, path);
    Registry::Disk disk{.storage_class = fields.string("class"),
                        .size_mib = static_cast<std::uint64_t>(
                            fields.integer("size_mib", 1, std::int64_t{1} << 40)),
                        .kept_since = fields.integer_or("kept_since", 1, std::int64_t{1} << 40, 0),
                        .host = fields.optional_string("host").value_or("")};
    if (!disk.host.empty() && !Machine::valid(disk.host)) {
        fields.wrong("host", "the name of a host");
    }
    fields.done();
    return disk;
}

void add_disk(Disks& disks, const std::string& name, const Json& value, const std::string& path) {
    if (!Volume::valid(name)) {
        fail(ExitCode::kData, "{}: not the name of a volume", path);
    }
    disks.emplace(name, parse_disk(value, path));
}

std::string parse_address(const Json& value, const std::string& path, bool subnet) {
    std::string text = string_of(value, path);
    const auto slash = text.find('/');
    in_addr address{};
    const bool has_prefix = slash != std::string::npos;
    if (has_prefix != subnet ||
        ::inet_pton(AF_INET, text.substr(0, slash).c_str(), &address) != 1) {
        fail(ExitCode::kData, "{}: expected an IPv4 {}", path, subnet ? "network" : "address");
    }
    if (has_prefix && (text.size() - slash > 3 || text.size() - slash < 2 ||
                       text.find_first_not_of("0123456789", slash + 1) != std::string::npos ||
                       std::stoi(text.substr(slash + 1)) > 30)) {
        fail(ExitCode::kData, "{}: expected an IPv4 network", path);
    }
    return text;
}

Registry::TenantEntry parse_tenant(const Json& value, const std::string& path) {
    Fields fields(value, path);
    Registry::TenantEntry entry;
    entry.index = static_cast<std::uint32_t>(fields.integer("index", 1, 1 << 24));
    fields.each_member("networks",
                       [&](const std::string& name, const Json& subnet, const std::string& at) {
                           if (!Network::valid(name)) {
                               fail(ExitCode::kData, "{}: not the name of a network", at);
                           }
                           entry.networks.emplace(name, parse_address(subnet, at, true));
                       });
    fields.done();
    return entry;
}

Registry::Machine parse_machine(const Json& value, const std::string& path) {
    Fields fields(value, path);
    Registry::Machine machine;
    machine.index = static_cast<std::uint32_t>(fields.integer("index", 1, kMachineIndexMax));
    machine.uid = static_cast<uid_t>(fields.integer("uid", 1, (std::int64_t{1} << 31) - 1));
    machine.machine_id = parse_machine_id(fields, "machine_id");
    fields.each_member("addresses",
                       [&](const std::string& name, const Json& address, const std::string& at) {
                           if (!Network::valid(name)) {
                               fail(ExitCode::kData, "{}: not the name of a network", at);
                           }
                           machine.addresses.emplace(name, parse_address(address, at, false));
                       });
    fields.each_member("volumes",
                       [&](const std::string& name, const Json& disk, const std::string& at) {
                           add_disk(machine.volumes, name, disk, at);
                       });
    fields.done();
    return machine;
}

/// What must not be given out twice, whoever wrote the file. Refers to the texts that it is given.
template <typename T>
class Unique {
  public:
    explicit Unique(const char* what) : what_(what) {}
    void check(const T& value, const std::string& owner) {
        if (!seen_.insert(value).second) {
            fail(ExitCode::kData, "registry: {} of '{}' is given out twice", what_, owner);
        }
    }

  private:
    const char* what_;
    std::unordered_set<T> seen_{};
};

} // namespace

void Registry::check() const {
    Unique<std::uint32_t> tenant_indices("index of tenant");
    Unique<std::uint32_t> indices("index");
    Unique<uid_t> uids("uid");
    Unique<std::string_view> machine_ids("machine_id");
    Unique<std::string_view> addresses("address");
    std::map<std::string, std::string> network_of; // only a shared network's is several tenants'
    for (const auto& [name, tenant] : tenants) {
        tenant_indices.check(tenant.index, name);
        for (const auto& [network, subnet] : tenant.networks) {
            if (network_of.emplace(subnet, network).first->second != network) {
                fail(ExitCode::kData, "registry: subnet of '{}' is given out twice", name);
            }
        }
    }
    for (const auto& [name, machine] : machines) {
        indices.check(machine.index, name);
        machine_ids.check(machine.machine_id, name);
        for (std::uint32_t i = 0; i < kUidsPerMachine; ++i) {
            uids.check(machine.uid + i, name);
        }
        const auto tenant = tenants.find(name.substr(0, name.find('.')));
        for (const auto& [network, address] : machine.addresses) {
            addresses.check(address, name);
            if (tenant == tenants.end() || !tenant->second.networks.contains(network)) {
                fail(ExitCode::kData, "registry: '{}' has an address without a subnet", name);
            }
        }
    }
}

namespace {

Json disks_json(const Disks& disks) {
    Json out = Json::object();
    for (const auto& [name, disk] : disks) {
        out[name] = {{"class", disk.storage_class}, {"size_mib", disk.size_mib}};
        if (disk.kept_since != 0) {
            out[name]["kept_since"] = disk.kept_since;
        }
        if (!disk.host.empty()) {
            out[name]["host"] = disk.host;
        }
    }
    return out;
}

} // namespace

Registry::Commit parse_commit(const Json& value, const std::string& path) {
    Fields fields(value, path);
    Registry::Commit commit{
        .serial = static_cast<std::uint64_t>(fields.integer("serial", 1, std::int64_t{1} << 53)),
        .by = fields.string("by")};
    if (commit.by.size() != 16 ||
        commit.by.find_first_not_of("0123456789abcdef") != std::string::npos) {
        fields.wrong("by", "16 hex digits");
    }
    fields.done();
    return commit;
}

Json commit_json(const Registry::Commit& commit) {
    return {{"serial", commit.serial}, {"by", commit.by}};
}

Json registry_machine_json(const Registry::Machine& machine) {
    return {{"index", machine.index},
            {"uid", machine.uid},
            {"machine_id", machine.machine_id},
            {"addresses", machine.addresses},
            {"volumes", disks_json(machine.volumes)}};
}

Registry Registry::parse(std::string_view json) {
    const Json value = parse_json(json, std::size_t{64} << 20, "registry");
    Fields fields(value, "");
    static_cast<void>(fields.integer("v", 1, 1));
    Registry out;
    if (fields.has("commit")) {
        out.commit = parse_commit(fields.any("commit"), "commit");
    }
    out.next_index =
        static_cast<std::uint32_t>(fields.integer("next_index", 1, kMachineIndexMax + 1));
    fields.each_member("tenants",
                       [&](const std::string& name, const Json& v, const std::string& at) {
                           out.tenants.emplace(Tenant::parse(name).str(), parse_tenant(v, at));
                       });
    fields.each_member(
        "machines", [&](const std::string& name, const Json& v, const std::string& at) {
            out.machines.emplace(MachinePath::parse_joined(name).joined(), parse_machine(v, at));
        });
    fields.each_member(
        "kept",
        [&](const std::string& name, const Json& v, const std::string& at) {
            Kept& kept = out.kept[MachinePath::parse_joined(name).joined()];
            if (!v.is_object()) {
                fail(ExitCode::kData, "{}: expected an object", at);
            }
            for (const auto& [volume, disk] : v.items()) {
                add_disk(kept, volume, disk, at + "." + printable(volume));
            }
        },
        true);
    fields.done();
    out.check();
    return out;
}

std::string Registry::dump() const {
    Json out = {{"v", 1},
                {"next_index", next_index},
                {"tenants", Json::object()},
                {"machines", Json::object()},
                {"kept", Json::object()}};
    if (commit.serial != 0) {
        out["commit"] = commit_json(commit);
    }
    for (const auto& [name, tenant] : tenants) {
        out["tenants"][name] = {{"index", tenant.index}, {"networks", tenant.networks}};
    }
    for (const auto& [name, machine] : machines) {
        out["machines"][name] = registry_machine_json(machine);
    }
    for (const auto& [name, disks] : kept) {
        out["kept"][name] = disks_json(disks);
    }
    return dump_json(out);
}

Registry Registry::part_of(const std::string& tenant) const {
    const auto theirs = [&](const auto& all, auto& out) {
        for (auto at = all.lower_bound(tenant + "."); at != all.end(); ++at) {
            if (at->first.compare(0, tenant.size() + 1, tenant + ".") != 0) {
                break;
            }
            out.insert(*at);
        }
    };
    Registry out;
    if (const auto at = tenants.find(tenant); at != tenants.end()) {
        out.tenants.insert(*at);
    }
    theirs(machines, out.machines);
    theirs(kept, out.kept);
    return out;
}

void Registry::add(Registry part) {
    tenants.merge(part.tenants);
    machines.merge(part.machines);
    kept.merge(part.kept);
}

} // namespace sky
