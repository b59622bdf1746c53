// SPDX-License-Identifier: MIT
#include <sky-vm-run/host-plan.hpp>

#include "sudoers.hpp"

#include <sky/json.hpp>

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string_view>

namespace sky::vm {
namespace {

/// BIN/TOOL --config C REST
std::string call(const Config& config, std::string_view tool, std::string_view rest) {
    return fmt::format("{} --config {} {}", config.tool(tool).string(), config.file.string(), rest);
}

HostFile unit(const Config& config, std::string_view name, const std::string& text) {
    return {fmt::format("/etc/systemd/system/{}-{}", config.prefix, name), kMadeHere + text};
}

/// Before anybody comes in, unless it waits for the network itself, for what hosts share:
/// directories, accounts, what tenants' processes may reach. Keys count while it is up.
std::string host_unit(const Config& config) {
    const bool alone = config.shared == config.state;
    return fmt::format(
        R"([Unit]
Description=Skyflake: directories, and the rules that keep tenants and machines off this host
After=nftables.service
{}RequiresMountsFor={}

[Service]
Type=oneshot
RemainAfterExit=yes
RuntimeDirectory={}
ExecStart={}
ExecStart={}
ExecStart=/bin/ln -sfn {} {}

[Install]
WantedBy=multi-user.target
)",
        alone ? "Before=network-pre.target ssh.service\nWants=network-pre.target\n" : "",
        config.state.string() + (alone ? "" : " " + config.shared.string()),
        keys_link(config).parent_path().filename().string(),
        call(config, "sky-vm-run", "host-start"), call(config, "sky-net-setup", "boundary"),
        (config.shared / "authorized_keys").string(), keys_link(config).string());
}

std::string reconcile_unit(const Config& config) {
    return fmt::format(R"([Unit]
Description=Skyflake: start what should run, stop what should not
Requires={0}-host.service
After={0}-host.service network-online.target
Wants=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec=30min
ExecStart={1}

[Install]
WantedBy=multi-user.target
)",
                       config.prefix, call(config, "sky-nomad-submit", "reconcile"));
}

std::string gc_unit(const Config& config) {
    return fmt::format(R"([Unit]
Description=Skyflake: remove what no machine, branch or build needs
Requisite={0}-host.service
After={0}-host.service

[Service]
Type=oneshot
Nice=10
IOSchedulingClass=idle
ExecStart={1}
# A build that is on makes it fail, and the next time does it.
ExecStart=-{2}
ExecStart={3}
)",
                       config.prefix, call(config, "sky-vm-run", "gc"),
                       call(config, "sky-build", "gc"), call(config, "sky-cache-push", "gc"));
}

std::string lease_unit(const Config& config) {
    return fmt::format(R"([Unit]
Description=Skyflake: this host's lease on shared volumes
Requires={0}-host.service
After={0}-host.service
Before=nomad.service

[Service]
ExecStart={1}
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
)",
                       config.prefix, call(config, "sky-vm-run", "lease"));
}

/// What can not be made anew, elsewhere. Where to is the operator's: by a drop-in, and a file that
/// says that the place is one.
std::string backup_unit(const Config& config) {
    const auto token =
        config.nomad
            ? " " + (config.nomad->host_token.parent_path() / "nomad-backup.token").string()
            : "";
    return fmt::format(R"([Unit]
Description=Skyflake: what can not be made anew goes elsewhere
After={0}-host.service network-online.target nomad.service
Wants=network-online.target
RequiresMountsFor={1}

[Service]
Type=oneshot
Nice=10
IOSchedulingClass=idle
Environment=TO=/var/backups/skyflake KEEP=48
ExecStart={2} {3} ${{TO}} ${{KEEP}}{4}
)",
                       config.prefix, config.shared.string(),
                       (config.bin.parent_path() / "libexec/skyflake/backup").string(),
                       config.file.string(), token);
}

/// Numbers for Debian's prometheus-node-exporter; a drop-in may say another place.
std::string metrics_unit(const Config& config) {
    return fmt::format(R"([Unit]
Description=Skyflake: count the machines
After={0}-host.service

[Service]
Type=oneshot
Nice=5
Environment=SKY_CONFIG={1} TO=/var/lib/prometheus/node-exporter/{0}.prom
ExecStart={2} {3} ${{TO}}
)",
                       config.prefix, config.file.string(),
                       (config.bin.parent_path() / "libexec/skyflake/metrics").string(),
                       (config.bin / "sky-nomad-submit").string());
}

constexpr const char* kMetricsTimer = R"([Unit]
Description=Skyflake: every minute

[Timer]
OnCalendar=minutely

[Install]
WantedBy=timers.target
)";

constexpr const char* kBackupTimer = R"([Unit]
Description=Skyflake: every hour

[Timer]
OnCalendar=hourly
RandomizedDelaySec=5min
Persistent=true

[Install]
WantedBy=timers.target
)";

constexpr const char* kGcTimer = R"([Unit]
Description=Skyflake: once a day

[Timer]
OnCalendar=daily
RandomizedDelaySec=30min
Persistent=true

[Install]
WantedBy=timers.target
)";

} // namespace

std::filesystem::path keys_link(const Config& config) {
    return fmt::format("/run/{}-host/keys", config.prefix);
}

std::string sudoers_text(const Config& config) {
    const auto& accounts = config.accounts;
    return kMadeHere + fmt::format(fmt::runtime(kSudoers), fmt::arg("tenants", accounts.tenants),
                                   fmt::arg("cache", accounts.cache),
                                   fmt::arg("deploy", accounts.deploy),
                                   fmt::arg("bin", config.bin.string()),
                                   fmt::arg("config", config.file.string()));
}

/// MaxStartups counts connections that have not logged in: of sshd's own, 10:30:100, ten silent
/// ones have others' pushes dropped.
std::string sshd_text(const Config& config) {
    return fmt::format(R"({}MaxStartups 60:30:100
Match Group {}
  AuthorizedKeysFile {}/%u
  AuthorizedKeysCommand none
  AuthenticationMethods publickey
  PasswordAuthentication no
  KbdInteractiveAuthentication no
  ForceCommand {}
  SetEnv SKY_CONFIG={}
  ExposeAuthInfo yes
  AcceptEnv GIT_PROTOCOL
  PermitTTY no
  PermitTunnel no
  PermitUserRC no
  DisableForwarding yes
  ClientAliveInterval 15
  ClientAliveCountMax 3
Match All
)",
                       kMadeHere, config.accounts.tenants, keys_link(config).string(),
                       config.tool("sky-shell").string(), config.file.string());
}

std::string first_config(const HostFacts& facts) {
    using Ordered = nlohmann::ordered_json;
    Ordered inputs = Ordered::object();
    for (const auto& [name, path] : facts.inputs) {
        inputs[name] = path.string();
    }
    Ordered config{
        {"v", 1},
        {"host", facts.host},
        {"state", "/var/lib/skyflake"},
        {"storage", facts.storage},
        {"bin", facts.bin.string()},
        {"hooks", (facts.data / "hooks").string()},
        {"accounts",
         {{"cache", "skyflake-cache"}, {"deploy", "skyflake-deploy"}, {"dns", "skyflake-dns"}}},
        {"tenants", Ordered::object()},
        {"cell", {{"inputs", inputs}, {"guest", (facts.data / "guest").string()}}},
        {"networks", {{"default", {{"mode", "bridge"}, {"ipv4", "10.88.0.0/16"}}}}},
    };
    if (facts.virtiofsd) {
        config["programs"] = {{"virtiofsd", facts.virtiofsd->string()}};
    }
    return config.dump(2) + "\n";
}

HostPlan plan_host(const Config& config) {
    using Check = HostFile::Check;
    const auto& names = config.accounts;
    HostPlan plan;
    plan.group = names.tenants;
    for (const auto& name : {names.cache, names.deploy, names.dns}) {
        plan.accounts.push_back({name, std::nullopt, false});
    }
    for (const auto& [name, tenant] : config.tenants) {
        plan.accounts.push_back({name.str(), tenant.uid, true});
    }
    plan.files = {
        {fmt::format("/etc/sudoers.d/{}-skyflake", config.prefix), sudoers_text(config), 0440,
         Check::kSudo},
        {fmt::format("/etc/ssh/sshd_config.d/{}-skyflake.conf", config.prefix), sshd_text(config),
         0644, Check::kSshd},
        {fmt::format("/etc/modules-load.d/{}-skyflake.conf", config.prefix),
         std::string(kMadeHere) + "tun\nbridge\nfuse\n"},
    };
    plan.units = {unit(config, "host.service", host_unit(config)),
                  unit(config, "reconcile.service", reconcile_unit(config)),
                  unit(config, "gc.service", gc_unit(config)),
                  unit(config, "gc.timer", kGcTimer),
                  unit(config, "backup.service", backup_unit(config)),
                  unit(config, "backup.timer", kBackupTimer),
                  unit(config, "metrics.service", metrics_unit(config)),
                  unit(config, "metrics.timer", kMetricsTimer)};
    plan.offered = {config.prefix + "-backup.timer", config.prefix + "-metrics.timer"};
    plan.enabled = {config.prefix + "-host.service", config.prefix + "-gc.timer"};
    if (config.nomad) {
        // A connection to a lost host stands for 100 s, not for a quarter of an hour.
        plan.files.push_back({fmt::format("/etc/sysctl.d/60-{}-skyflake.conf", config.prefix),
                              std::string(kMadeHere) + "net.ipv4.tcp_retries2 = 8\n", 0644,
                              Check::kSysctl});
        plan.units.push_back(unit(config, "lease.service", lease_unit(config)));
        plan.enabled.push_back(config.prefix + "-lease.service");
    }
    plan.enabled.push_back(config.prefix + "-reconcile.service");
    return plan;
}

} // namespace sky::vm
