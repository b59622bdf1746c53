// SPDX-License-Identifier: MIT
#include <sky/config.hpp>

#include <sky/config-networks.hpp>
#include <sky/config-read.hpp>
#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/json.hpp>
#include <sky/tenants.hpp>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>

namespace sky {

using namespace config_read;

namespace {

constexpr std::size_t kMostBytes = 4U << 20U;
constexpr std::int64_t kMostMib = std::int64_t{1} << 40;
constexpr std::int64_t kMostSeconds = 7 * 24 * 3600;
constexpr std::int64_t kMostKeep = std::int64_t{10} * 366 * 24 * 3600;

} // namespace

Quota read_quota(const Json& value, const std::string& path) {
    Quota quota;
    Fields f(value, path, kCode);
    set(f, "machines", quota.machines, 0, 100000);
    set(f, "vcpu", quota.vcpu, 0, 1000000);
    set(f, "mem_mib", quota.mem_mib, 0, kMostMib);
    set(f, "disk_mib", quota.disk_mib, 0, kMostMib);
    set(f, "cache_mib", quota.cache_mib, 0, kMostMib);
    f.done();
    return quota;
}

namespace {

void read_tenants(Fields& top, Config& config) {
    std::set<uid_t> uids;
    top.each_member(
        "tenants",
        [&](const std::string& name, const Json& value, const std::string& path) {
            Fields f(value, path, kCode);
            TenantConfig tenant;
            tenant.uid = static_cast<uid_t>(f.integer("uid", 1, 0x7ffffffe));
            if (f.has("quota")) {
                tenant.quota = read_quota(f.any("quota"), f.path_of("quota"));
            }
            section(f, "placement", [&](Fields& p) {
                set_list(p, "placed", tenant.placed);
                set_list(p, "may_ask", tenant.may_ask);
            });
            f.done();
            if (!uids.insert(tenant.uid).second) {
                fail(ExitCode::kConfig, "{}.uid: another tenant has it", path);
            }
            config.tenants.emplace(name_of<Tenant>(name, path), tenant);
        },
        true);
}

void read_cell(Fields& f, CellConfig& cell) {
    set(f, "root", cell.root);
    set(f, "shell", cell.shell);
    f.each_member(
        "inputs",
        [&](const std::string& name, const Json& value, const std::string& path) {
            if (!value.is_string()) {
                fail(ExitCode::kConfig, "{}: expected a string", path);
            }
            cell.inputs[name_of<Network>(name, path).str()] = value.get<std::string>();
        },
        true);
    set(f, "guest", cell.guest);
    if (const auto text = f.optional_string("customization")) {
        cell.customization = *text;
    }
    set_list(f, "substituters", cell.substituters);
    set_list(f, "trusted_keys", cell.trusted_keys);
    set_list(f, "egress", cell.egress);
    set(f, "jobs", cell.jobs, 0, 4096);
    set(f, "eval_s", cell.eval_s, 1, kMostSeconds);
    set(f, "build_s", cell.build_s, 1, kMostSeconds);
    set(f, "mem_mib", cell.mem_mib, 256, kMostMib);
    set(f, "pids", cell.pids, 64, 4194304);
    set_list(f, "cgroups", cell.cgroups);
}

/// A name of Ceph's that needs no quoting wherever it stands: in a command, in a path, in JSON.
void set_ceph_name(Fields& f, const char* key, std::string& into) {
    set(f, key, into);
    const auto plain = [](char x) {
        return (x >= 'a' && x <= 'z') || (x >= 'A' && x <= 'Z') || (x >= '0' && x <= '9') ||
               x == '-' || x == '_' || x == '.';
    };
    if (into.empty() || into.front() == '-' || into.front() == '.' || into.size() > 64 ||
        !std::all_of(into.begin(), into.end(), plain)) {
        f.wrong(key, "1 to 64 of a-z A-Z 0-9 - _ .");
    }
}

VolumeClass read_class(Fields& f) {
    VolumeClass made;
    const std::string kind = f.string("kind");
    if (kind == "leased") {
        made.kind = VolumeClass::Kind::kLeased;
        made.wait_s = f.integer("wait_s", 0, kMostSeconds);
    } else if (kind == "fenced") {
        made.kind = VolumeClass::Kind::kFenced;
        made.driver = VolumeClass::Driver::kCeph;
    } else if (kind != "local") {
        f.wrong("kind", "\"local\", \"leased\" or \"fenced\"");
    }
    const bool ceph = made.driver == VolumeClass::Driver::kCeph;
    const char* driver = ceph ? "ceph" : "directory";
    if (f.has("driver") && f.string("driver") != driver) {
        f.wrong("driver", ceph ? "\"ceph\" (the one that fences)" : "\"directory\"");
    }
    if (ceph) {
        set_ceph_name(f, "pool", made.pool);
        set_ceph_name(f, "user", made.user);
        set(f, "conf", made.conf);
        set(f, "keyring", made.keyring);
    }
    return made;
}

void read_volumes(Fields& f, VolumesConfig& volumes) {
    if (f.has("classes")) {
        volumes.classes.clear();
        f.each_member(
            "classes", [&](const std::string& name, const Json& value, const std::string& path) {
                Fields c(value, path, kCode);
                VolumeClass made = read_class(c);
                c.done();
                volumes.classes.emplace(name_of<Volume>(name, path).str(), std::move(made));
            });
    }
    set(f, "default", volumes.standard);
    set(f, "keep_s", volumes.keep_s, 0, kMostKeep);
    if (!volumes.classes.contains(volumes.standard)) {
        f.wrong("default", "one of the classes");
    }
}

void read_small_sections(Fields& top, Config& c) {
    section(top, "programs", [&](Fields& f) {
        set(f, "git", c.programs.git);
        set(f, "sudo", c.programs.sudo);
        set(f, "bwrap", c.programs.bwrap);
        set(f, "pasta", c.programs.pasta);
        set(f, "virtiofsd", c.programs.virtiofsd);
        set(f, "dnsmasq", c.programs.dnsmasq);
        set(f, "mkfs_ext4", c.programs.mkfs_ext4);
        set(f, "systemd_run", c.programs.systemd_run);
        set(f, "qemu_storage_daemon", c.programs.qemu_storage_daemon);
        set(f, "ceph", c.programs.ceph);
        set(f, "rados", c.programs.rados);
        set(f, "rbd", c.programs.rbd);
    });
    section(top, "accounts", [&](Fields& f) {
        set(f, "cache", c.accounts.cache);
        set(f, "deploy", c.accounts.deploy);
        set(f, "dns", c.accounts.dns);
        set(f, "tenants", c.accounts.tenants);
    });
    section(top, "machine_uids", [&](Fields& f) {
        c.machine_uid_first = static_cast<uid_t>(f.integer("first", 1000, 0x7ffffff0));
        c.machine_uid_count =
            static_cast<std::uint32_t>(f.integer("count", 4, 0x7ffffff0 - c.machine_uid_first));
    });
    section(top, "tenant_uids", [&](Fields& f) {
        c.tenant_uid_first = static_cast<uid_t>(f.integer("first", 1000, 0x7ffffff0));
        c.tenant_uid_count =
            static_cast<std::uint32_t>(f.integer("count", 0, 0x7ffffff0 - c.tenant_uid_first));
    });
    section(top, "machine", [&](Fields& f) {
        set(f, "vcpu_max", c.machine.vcpu_max, 1, 4096);
        set(f, "mem_max_mib", c.machine.mem_max_mib, 32, kMostMib);
        set(f, "root_mib", c.machine.root_mib, 16, kMostMib);
        set(f, "ready_s", c.machine.ready_s, 1, 3600);
        set(f, "stop_s", c.machine.stop_s, 1, 3600);
    });
    section(top, "push", [&](Fields& f) {
        set(f, "max_mib", c.push.max_mib, 1, 1 << 20);
        set(f, "wait_s", c.push.wait_s, 0, kMostSeconds);
        set(f, "idle_s", c.push.idle_s, 1, kMostSeconds);
    });
    section(top, "cell", [&](Fields& f) { read_cell(f, c.cell); });
    section(top, "volumes", [&](Fields& f) { read_volumes(f, c.volumes); });
    section(top, "nomad", [&](Fields& f) { read_nomad(f, c.nomad.emplace()); });
}

void check_placements(const Config& c) {
    for (const auto& [name, tenant] : c.tenants) {
        for (const auto* list : {&tenant.placed, &tenant.may_ask}) {
            for (const auto& each : *list) {
                if (!c.nomad || !c.nomad->placements.contains(each)) {
                    fail(ExitCode::kConfig, "tenants.{}.placement: not one of nomad.placements",
                         name.str());
                }
            }
        }
    }
}

void check_tenant_uids(const Config& c) {
    for (const auto& [name, tenant] : c.tenants) {
        if (tenant.uid >= c.machine_uid_first &&
            tenant.uid - c.machine_uid_first < c.machine_uid_count) {
            fail(ExitCode::kConfig, "tenants.{}.uid: lies in machine_uids", name.str());
        }
    }
    if (c.tenant_uid_count != 0 && c.tenant_uid_first < c.machine_uid_first + c.machine_uid_count &&
        c.machine_uid_first < c.tenant_uid_first + c.tenant_uid_count) {
        fail(ExitCode::kConfig, "tenant_uids: overlaps with machine_uids");
    }
}

} // namespace

std::optional<Tenant> Config::tenant_of(uid_t uid) const {
    const auto at = std::find_if(tenants.begin(), tenants.end(),
                                 [&](const auto& entry) { return entry.second.uid == uid; });
    return at == tenants.end() ? std::nullopt : std::optional(at->first);
}

const TenantConfig& Config::tenant(const Tenant& name) const {
    const auto at = tenants.find(name);
    if (at == tenants.end()) {
        fail(ExitCode::kRefused, "no tenant '{}' in the configuration", name.str());
    }
    return at->second;
}

Config parse_config(std::string_view text, const std::filesystem::path& file) {
    Json root;
    try {
        root = parse_json(text, kMostBytes, file.string());
    } catch (const Error& e) {
        throw Error(ExitCode::kConfig, e.what());
    }
    Config c;
    c.file = file;
    Fields top(root, "", kCode);
    if (top.integer("v", 1, 1) != 1) {
        top.wrong("v", "1");
    }
    c.host = top.string("host");
    set(top, "state", c.state);
    c.shared = c.state;
    set(top, "shared", c.shared);
    c.storage = top.string("storage");
    if (c.storage.size() != 32 ||
        c.storage.find_first_not_of("0123456789abcdef") != std::string::npos) {
        top.wrong("storage", "32 hex digits (sky-vm-run storage init prints them)");
    }
    set(top, "prefix", c.prefix);
    if (c.prefix.empty() || c.prefix.size() > 4 ||
        !std::all_of(c.prefix.begin(), c.prefix.end(),
                     [](char x) { return x >= 'a' && x <= 'z'; })) {
        top.wrong("prefix", "1 to 4 letters a-z");
    }
    set(top, "bin", c.bin);
    set(top, "hooks", c.hooks);
    set_list(top, "program_roots", c.program_roots);
    set_list(top, "hypervisors", c.hypervisors);
    set_list(top, "verbs", c.verbs);
    set_list(top, "cluster", c.cluster);
    if (!Machine::valid(c.host)) {
        top.wrong("host", "a name (a-z 0-9 -, starting with a letter)");
    }
    read_small_sections(top, c);
    read_tenants(top, c);
    read_networks(top, c);
    top.done();
    check_tenant_uids(c);
    check_placements(c);
    return c;
}

std::filesystem::path config_path(const std::optional<std::string>& option) {
    const char* variable = std::getenv("SKY_CONFIG");
    return std::filesystem::absolute(option                ? *option
                                     : variable != nullptr ? variable
                                                           : "/etc/skyflake/config.json");
}

Config load_config(const std::optional<std::string>& option) {
    const auto file = config_path(option);
    std::string text;
    try {
        text = read_file(file, kMostBytes);
    } catch (const Error& e) {
        fail(ExitCode::kConfig, "{} (name the configuration by --config or SKY_CONFIG)", e.what());
    }
    Config config = parse_config(text, file);
    if (const auto added = read_tenants(config.shared)) {
        add_tenants(config, *added);
    }
    return config;
}

} // namespace sky
