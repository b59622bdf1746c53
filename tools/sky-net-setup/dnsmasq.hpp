// SPDX-License-Identifier: MIT
#pragma once

#include <sky-net-setup/plan.hpp>

#include <filesystem>
#include <string>

namespace sky::net {

/// The files of one bridge's dnsmasq, below STATE/net. All are root's but the leases.
struct DnsFiles {
    std::filesystem::path conf;
    std::filesystem::path hosts; ///< MAC to address
    std::filesystem::path names; ///< address to names, as /etc/hosts
    std::filesystem::path leases;
    std::filesystem::path pid;
    DnsFiles(const std::filesystem::path& directory, const std::string& bridge);
};

/// dnsmasq's configuration: DHCP for the hosts file's machines and nobody else, names from the
/// names file, nothing that a guest says about itself. Throws Error(kConfig) for paths or
/// forwarders that its syntax could misread.
[[nodiscard]] std::string render_dns_conf(const Bridge& bridge, const DnsFiles& files,
                                          const std::string& user, const std::string& group);
[[nodiscard]] std::string render_dns_hosts(const Bridge& bridge);
[[nodiscard]] std::string render_dns_names(const Bridge& bridge);

/// Makes the bridge's dnsmasq run with these files. New hosts are taken up by SIGHUP; if one went
/// or changed it is started anew, without its leases. `reload`: SIGHUP though nothing changed.
void ensure_dnsmasq(const Config& config, const Bridge& bridge, bool reload);

/// Whether it runs, by its pid file alone. One that died is started by ensure_dnsmasq().
[[nodiscard]] bool dnsmasq_runs(const Config& config, const std::string& bridge);

/// Ends it, if it runs, and removes its files.
void remove_dnsmasq(const Config& config, const std::string& bridge);

} // namespace sky::net
