// SPDX-License-Identifier: MIT
#include <sky-vm-run/accounts.hpp>
#include <sky-vm-run/doctor.hpp>

#include <sky/error.hpp>
#include <sky/process.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <grp.h>

namespace sky::vm {
namespace {

constexpr auto kPatience = std::chrono::minutes(2); // sudo and sshd may ask a DNS that is away

bool in_group(const std::string& name, gid_t gid, const std::string& group_name) {
    const auto* wanted = ::getgrnam(group_name.c_str()); // NOLINT(concurrency-mt-unsafe)
    if (wanted == nullptr) {
        return false;
    }
    const gid_t needed = wanted->gr_gid;
    int count = 256;
    std::vector<gid_t> groups(static_cast<std::size_t>(count));
    if (::getgrouplist(name.c_str(), gid, groups.data(), &count) < 0) {
        return false;
    }
    groups.resize(static_cast<std::size_t>(count));
    return std::find(groups.begin(), groups.end(), needed) != groups.end();
}

bool check_accounts(const Config& config, Findings& findings) {
    Report report(findings, "accounts");
    bool all = true;
    const auto bad = [&](const std::string& text) {
        report.bad(text, "sky-vm-run host-setup, or the configuration of NixOS");
        all = false;
    };
    for (const auto& name : {config.accounts.cache, config.accounts.deploy, config.accounts.dns}) {
        if (!uid_of_account(name)) {
            bad(fmt::format("no account '{}'", name));
        }
    }
    for (const auto& [tenant, entry] : config.tenants) {
        const auto uid = uid_of_account(tenant.str());
        if (!uid) {
            bad(fmt::format("no account '{}' for the tenant", tenant.str()));
        } else if (*uid != entry.uid) {
            bad(fmt::format("account '{}' has uid {}, and {} in the configuration", tenant.str(),
                            *uid, entry.uid));
        } else if (!in_group(tenant.str(), entry.uid, config.accounts.tenants)) {
            bad(fmt::format("'{}' is not in group '{}'", tenant.str(), config.accounts.tenants));
        }
    }
    if (all) {
        report.good(fmt::format("{} tenants, three of its own", config.tenants.size()));
    }
    return all;
}

/// Whether sudo would let `who` run a line as `as`.
bool may(const Config& config, const std::string& who, const std::string& as, std::string_view tool,
         const std::string& verb) {
    return Command(config.programs.sudo)
               .args({"-n", "-l", "-U", who, "-u", as, "--", config.tool(tool).string(), "--config",
                      config.file.string(), verb})
               .capture("", 1U << 16U, kPatience, true)
               .exit_code == 0;
}

void check_sudo(const Config& config, Findings& findings) {
    Report report(findings, "sudo");
    const auto& a = config.accounts;
    bool all = true;
    const auto need = [&](const std::string& who, const std::string& as, std::string_view tool,
                          const std::string& verb) {
        if (!may(config, who, as, tool, verb)) {
            report.bad(fmt::format("'{}' may not have {} {} run as '{}'", who, tool, verb, as),
                       "sky-vm-run host-setup writes the rules, or the configuration of NixOS");
            all = false;
        }
    };
    need(a.deploy, "root", "sky-vm-run", "start");
    if (!config.tenants.empty()) {
        const auto tenant = config.tenants.begin()->first.str();
        need(tenant, a.cache, "sky-cache-push", "push");
        need(tenant, a.deploy, "sky-nomad-submit", "submit");
        if (may(config, tenant, "root", "sky-vm-run", "start")) {
            report.bad(fmt::format("'{}' may run commands as root", tenant),
                       "take that out of sudo's rules");
            all = false;
        }
    }
    if (all) {
        report.good("the rules are there");
    }
}

void check_sshd(const Config& config, const std::optional<std::string>& file, Findings& findings) {
    Report report(findings, "sshd");
    if (config.tenants.empty()) {
        report.warning("no tenant yet", "sky-shell tenant add");
        return;
    }
    std::vector<std::string> words{
        "-T", "-C",
        fmt::format("user={},host=localhost,addr=127.0.0.1", config.tenants.begin()->first.str())};
    if (file) {
        words.insert(words.end(), {"-f", *file});
    }
    const auto said =
        Command(program_path("sshd")).args(words).capture("", 1U << 18U, kPatience, true);
    if (said.exit_code != 0) {
        report.bad("its configuration is wrong: " + printable(said.err, 200), "sshd -t says where");
        return;
    }
    const auto missing = missing_in_sshd(config, said.out);
    for (const auto& line : missing) {
        report.bad(fmt::format("tenants do not have '{}'", line),
                   "sky-vm-run host-setup, or the configuration of NixOS");
    }
    if (missing.empty()) {
        report.good("tenants reach sky-shell and nothing else");
    }
}

void check_boundary(const Config& config, Findings& findings) {
    Report report(findings, "rules");
    for (const char* nft : {"/usr/sbin/nft", "/run/current-system/sw/bin/nft"}) {
        if (!std::filesystem::exists(nft)) {
            continue;
        }
        if (Command(nft)
                .args({"list", "table", "inet", config.prefix})
                .capture("", 16U << 20U, kPatience, true)
                .exit_code != 0) {
            report.bad(fmt::format("nftables has no table 'inet {}': tenants' processes reach what "
                                   "they should not",
                                   config.prefix),
                       "sky-net-setup boundary; find who flushed it");
            return;
        }
        const auto said = Command(config.tool("sky-net-setup"))
                              .args({"--config", config.file.string(), "boundary", "--check"})
                              .capture("", 65536, kPatience, true);
        if (said.exit_code != 0) {
            report.bad(fmt::format("the tables '{}' of nftables are not what the configuration "
                                   "wants",
                                   config.prefix),
                       "sky-net-setup boundary");
            return;
        }
        report.good("tenants and machines are kept off this host");
        return;
    }
    report.warning("no program nft to ask about the rules", "install nftables");
}

} // namespace

std::vector<std::string> missing_in_sshd(const Config& config, std::string_view said) {
    const std::string all = "\n" + std::string(said) + "\n";
    std::vector<std::string> missing;
    for (const auto& line :
         {"forcecommand " + config.tool("sky-shell").string(), std::string("permittty no"),
          std::string("disableforwarding yes"), std::string("permituserrc no"),
          std::string("exposeauthinfo yes"), std::string("passwordauthentication no")}) {
        if (all.find("\n" + line + "\n") == std::string::npos) {
            missing.push_back(line);
        }
    }
    return missing;
}

void check_access(const Config& config, const std::optional<std::string>& sshd_config,
                  Findings& findings) {
    if (check_accounts(config, findings)) {
        check_sudo(config, findings);
    }
    check_sshd(config, sshd_config, findings);
    check_boundary(config, findings);
}

} // namespace sky::vm
