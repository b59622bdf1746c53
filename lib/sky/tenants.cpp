// SPDX-License-Identifier: MIT
#include <sky/tenants.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/json.hpp>

#include <cerrno>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>

namespace sky {
namespace {

constexpr int kCode = static_cast<int>(ExitCode::kConfig);
constexpr std::size_t kMostBytes = 4U << 20U;
constexpr const char* kWhat = "tenants.json";

Tenant name_of(const std::string& text, const std::string& path) {
    if (!Tenant::valid(text)) {
        fail(ExitCode::kConfig, "{}: {}: not a name", kWhat, path);
    }
    return Tenant::parse(text);
}

Json quota_json(const Quota& q) {
    return {{"machines", q.machines},
            {"vcpu", q.vcpu},
            {"mem_mib", q.mem_mib},
            {"disk_mib", q.disk_mib},
            {"cache_mib", q.cache_mib}};
}

} // namespace

Tenants Tenants::parse(std::string_view json) {
    Json root;
    try {
        root = parse_json(json, kMostBytes, kWhat);
    } catch (const Error& e) {
        throw Error(ExitCode::kConfig, e.what());
    }
    Tenants out;
    Fields top(root, kWhat, kCode);
    if (top.integer("v", 1, 1) != 1) {
        top.wrong("v", "1");
    }
    out.next_uid = static_cast<uid_t>(top.integer("next_uid", 0, 0x7fffffff));
    top.each_member("tenants", [&](const auto& name, const Json& value, const auto& path) {
        Fields f(value, path, kCode);
        TenantConfig tenant;
        tenant.added = true;
        tenant.uid = static_cast<uid_t>(f.integer("uid", 1, 0x7ffffffe));
        tenant.quota = read_quota(f.any("quota"), f.path_of("quota"));
        f.done();
        out.added.emplace(name_of(name, path), tenant);
    });
    top.each_member("suspended", [&](const auto& name, const Json& value, const auto& path) {
        if (!value.is_string()) {
            fail(ExitCode::kConfig, "{}: expected a string", path);
        }
        out.suspended.emplace(name_of(name, path), value.template get<std::string>());
    });
    top.done();
    return out;
}

std::string Tenants::dump() const {
    Json tenants = Json::object();
    for (const auto& [name, tenant] : added) {
        tenants[name.str()] = {{"uid", tenant.uid}, {"quota", quota_json(tenant.quota)}};
    }
    Json reasons = Json::object();
    for (const auto& [name, reason] : suspended) {
        reasons[name.str()] = reason;
    }
    return dump_json(
               {{"v", 1}, {"next_uid", next_uid}, {"tenants", tenants}, {"suspended", reasons}}) +
           "\n";
}

std::optional<Tenants> read_tenants(const std::filesystem::path& shared) {
    const auto file = shared / "tenants.json";
    const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd) {
        if (errno == ENOENT || errno == ENOTDIR) {
            return std::nullopt;
        }
        fail_errno("cannot open '{}'", file.string());
    }
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) {
        fail_errno("cannot stat '{}'", file.string());
    }
    if (info.st_uid != 0 || (info.st_mode & 0022U) != 0) {
        fail(ExitCode::kConfig, "'{}' is not root's alone to write (chown root, chmod 0644)",
             file.string());
    }
    return Tenants::parse(read_all(fd.get(), kMostBytes, kWhat));
}

void add_tenants(Config& config, const Tenants& tenants) {
    for (const auto& [name, tenant] : tenants.added) {
        if (config.tenants.contains(name)) {
            continue;
        }
        if (tenant.uid < config.tenant_uid_first ||
            tenant.uid - config.tenant_uid_first >= config.tenant_uid_count) {
            fail(ExitCode::kConfig, "{}: tenants.{}.uid: not in tenant_uids of the configuration",
                 kWhat, name.str());
        }
        if (config.tenant_of(tenant.uid)) {
            fail(ExitCode::kConfig, "{}: tenants.{}.uid: another tenant has it", kWhat, name.str());
        }
        config.tenants.emplace(name, tenant);
    }
    for (const auto& [name, reason] : tenants.suspended) {
        if (const auto at = config.tenants.find(name); at != config.tenants.end()) {
            at->second.suspended = reason;
        }
    }
}

} // namespace sky
