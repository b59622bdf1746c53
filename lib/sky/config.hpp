// SPDX-License-Identifier: MIT
#pragma once

#include <sky/name.hpp>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace sky {

/// What a tenant may have in all, on the whole cluster.
struct Quota {
    std::int64_t machines = 8;
    std::int64_t vcpu = 16;
    std::int64_t mem_mib = 16384;
    std::int64_t disk_mib = 102400;
    std::int64_t cache_mib = 20480; ///< compressed NARs in the tenant's cache
};

struct TenantConfig {
    uid_t uid = 0;
    Quota quota;
    std::vector<std::string> placed = {};  ///< names of nomad.placements that hold for its machines
    std::vector<std::string> may_ask = {}; ///< those that a manifest may ask for
    bool added = false;                    ///< by `sky-shell tenant add`, not by the configuration
    std::optional<std::string> suspended = {}; ///< the door is shut, and why
};

struct Programs {
    std::filesystem::path git = "/usr/bin/git";
    std::filesystem::path sudo = "/usr/bin/sudo";
    std::filesystem::path bwrap = "/usr/bin/bwrap";
    std::filesystem::path pasta = "/usr/bin/pasta";
    std::filesystem::path virtiofsd = "/usr/libexec/virtiofsd";
    std::filesystem::path dnsmasq = "/usr/sbin/dnsmasq";
    std::filesystem::path mkfs_ext4 = "/usr/sbin/mkfs.ext4";
    std::filesystem::path systemd_run = "/usr/bin/systemd-run"; ///< asked for where systemd is
    std::filesystem::path qemu_storage_daemon =
        "/usr/bin/qemu-storage-daemon";           ///< leased and fenced volumes
    std::filesystem::path ceph = "/usr/bin/ceph"; ///< these three for fenced volumes
    std::filesystem::path rados = "/usr/bin/rados";
    std::filesystem::path rbd = "/usr/bin/rbd";
};

struct Accounts {
    std::string cache = "skyflake-cache";
    std::string deploy = "skyflake-deploy";
    std::string dns = "dnsmasq";
    std::string tenants = "skyflake-tenants"; ///< the group that sshd and sudo know tenants by
};

struct MachineLimits {
    std::int64_t vcpu_max = 8;
    std::int64_t mem_max_mib = 16384;
    std::int64_t root_mib =
        2048; ///< size of the persistent root that a machine gets without asking
    std::int64_t ready_s = 90;
    std::int64_t stop_s = 30;
};

struct PushLimits {
    std::int64_t max_mib = 512;
    std::int64_t wait_s = 120;
    std::int64_t idle_s = 300;
};

struct CellConfig {
    std::filesystem::path root = "/usr/lib/skyflake/cell";
    std::filesystem::path shell = "/bin/busybox";
    std::map<std::string, std::filesystem::path> inputs; ///< the operator's pinned registry
    std::filesystem::path guest = "/usr/share/skyflake/guest";
    std::optional<std::filesystem::path> customization;
    std::vector<std::string> substituters;
    std::vector<std::string> trusted_keys;
    std::vector<std::string> egress{"0.0.0.0/0", "::/0"};
    std::int64_t jobs = 0; ///< 0: as many as there are cores
    std::int64_t eval_s = 600;
    std::int64_t build_s = 7200;
    std::int64_t mem_mib = 8192;
    std::int64_t pids = 4096;
    std::vector<std::filesystem::path> cgroups;
};

/// A network that machines ask for by name: a segment per tenant, or one for all.
struct NetworkConfig {
    enum class Mode {
        kBridge, ///< a bridge per segment, on this host alone (or as far as `uplink` reaches)
        kVlan,   ///< a VLAN per segment, on a VLAN-aware bridge with the trunk `uplink`
        kVxlan,  ///< a VXLAN per segment, between all `nodes`
        kRouted, ///< no segment: a route to each machine, which the operator's routing daemon tells
    };
    Mode mode = Mode::kBridge;
    std::string ipv4;                ///< CIDR
    std::optional<std::string> ipv6; ///< CIDR; a /64 of it per segment
    std::int64_t tenant_prefix = 24;
    std::optional<std::int64_t> mtu; ///< nothing: what the way below it carries
    bool masquerade = true;
    std::vector<std::string> dns;
    std::optional<std::set<Tenant>> tenants; ///< who may use it; nothing: everybody
    bool shared = false;                     ///< one segment for all of them
    bool operator_dhcp = false; ///< the operator's router, DHCP and DNS are on the segment
    std::string uplink;         ///< the operator's link that is plugged into it; or empty
    std::int64_t id_first = 0;  ///< VLANs or VNIs
    std::int64_t id_last = 0;
    std::int64_t port = 4789; ///< UDP, of VXLAN

    [[nodiscard]] bool open_to(const Tenant& tenant) const;
};

/// A host of the cluster, as the others reach it.
struct NodeConfig {
    std::string address; ///< IPv4 or IPv6; all of the same family
};

/// Where the volumes of a class lie, and who may open them.
struct VolumeClass {
    enum class Kind {
        kLocal,  ///< below `state`: pinned to the host it was made on
        kLeased, ///< below `shared`: opened by the host that owns the machine and holds its lease
        kFenced, ///< on a storage that cuts off who had it before
    };
    enum class Driver {
        kDirectory, ///< files NAME.img in a directory; kLocal and kLeased
        kCeph,      ///< RBD images; kFenced
    };
    Kind kind = Kind::kLocal;
    Driver driver = Driver::kDirectory;
    std::int64_t wait_s = 0; ///< kLeased: so long the filesystem takes a cut-off host's writes
    std::string pool;        ///< kCeph, with all below
    std::string user = "skyflake";                      ///< of the hosts: client.USER
    std::filesystem::path conf = "/etc/ceph/ceph.conf"; ///< where the monitors are
    std::filesystem::path keyring = "/etc/ceph/ceph.client.skyflake.keyring"; ///< root's alone
};

struct VolumesConfig {
    std::string standard = "local"; ///< "default" in JSON: the class of who asks for none
    std::map<std::string, VolumeClass> classes{{"local", {}}};
    std::int64_t keep_s = 30 * 24 * 3600; ///< how long those of a deleted branch wait for it
};

/// Which hosts a machine may, or should rather, run on, in Nomad's words: the operator's.
struct Placement {
    struct Rule {
        std::string attribute; ///< "${meta.rack}"
        std::string op = "=";  ///< Nomad's operand
        std::string value = {};
        std::int64_t weight = 50; ///< of an affinity: -100 to 100
    };
    struct Spread {
        std::string attribute;
        std::int64_t weight = 50; ///< 1 to 100
    };
    std::vector<Rule> constraints;
    std::vector<Rule> affinities;
    std::vector<Spread> spreads;
    std::optional<std::int64_t> priority; ///< 1 to 100; Nomad's usual one is 50
};

/// How to reach the cluster's scheduler, doc/interfaces.md "Cluster".
struct NomadConfig {
    std::vector<std::string> addresses; ///< http(s)://HOST:PORT, tried in turn
    std::optional<std::filesystem::path> ca;
    std::optional<std::filesystem::path> cert; ///< with `key`
    std::optional<std::filesystem::path> key;
    std::optional<std::string> tls_name; ///< to find in the agent's certificate
    std::string region = "global";
    std::vector<std::string> datacenters{"*"};
    std::string node_pool = "default";
    std::filesystem::path deploy_token = "/etc/skyflake/nomad-deploy.token";
    std::filesystem::path host_token = "/etc/skyflake/nomad-host.token";
    std::int64_t vcpu_mhz = 1000;
    std::int64_t overhead_mib = 192; ///< hypervisor and virtiofsd, on top of the guest's memory
    std::int64_t place_s = 60;
    std::int64_t lease_s = 30;
    bool spare_refuses = false; ///< "spare": a machine for which a lost host leaves no room
    std::map<std::string, Placement> placements; ///< by name; "default" holds for every machine
};

/// The host's configuration, doc/interfaces.md "Configuration". A plain value; nothing in it was a
/// tenant's.
struct Config {
    std::filesystem::path file; ///< absolute path it was read from: what sudo's rules name
    std::string host;
    std::filesystem::path state = "/var/lib/skyflake";
    std::filesystem::path shared = "/var/lib/skyflake"; ///< `state`, unless hosts share a storage
    std::string storage;
    std::string prefix = "sky";
    std::filesystem::path bin = "/usr/bin";
    std::filesystem::path hooks = "/usr/share/skyflake/hooks";
    Programs programs;
    std::vector<std::filesystem::path> program_roots{"/usr", "/lib", "/lib64"};
    Accounts accounts;
    uid_t tenant_uid_first = 40000; ///< for tenants that are added without a new configuration
    std::uint32_t tenant_uid_count = 10000;
    uid_t machine_uid_first = 2000000;
    std::uint32_t machine_uid_count = 40000;
    std::map<Tenant, TenantConfig> tenants;
    MachineLimits machine;
    std::vector<std::string> hypervisors{"qemu"};
    std::vector<std::string> verbs{"redeploy", "restart", "stop", "rollback"};
    PushLimits push;
    CellConfig cell;
    std::map<Network, NetworkConfig> networks;
    std::map<std::string, NodeConfig> nodes; ///< by host, this one too
    std::vector<std::string> cluster; ///< CIDRs that no tenant's process and no guest reaches
    VolumesConfig volumes;
    std::optional<NomadConfig> nomad; ///< nothing: a single host

    /// The tenant with this uid, if it is one.
    [[nodiscard]] std::optional<Tenant> tenant_of(uid_t uid) const;
    /// Throws Error(kRefused) "no tenant 'x'".
    [[nodiscard]] const TenantConfig& tenant(const Tenant& name) const;
    [[nodiscard]] std::filesystem::path tool(std::string_view name) const { return bin / name; }
};

/// Parses a configuration text. Throws Error(kConfig) "PATH: ...".
[[nodiscard]] Config parse_config(std::string_view text, const std::filesystem::path& file);

/// --config FILE, else $SKY_CONFIG, else /etc/skyflake/config.json; absolute.
[[nodiscard]] std::filesystem::path config_path(const std::optional<std::string>& option);

/// Reads the file that config_path() names, and beside it the tenants that were added without it
/// (sky/tenants.hpp). Throws Error(kConfig).
[[nodiscard]] Config load_config(const std::optional<std::string>& option);

} // namespace sky
