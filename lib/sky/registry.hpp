// SPDX-License-Identifier: MIT
#pragma once

#include <sky/json.hpp>
#include <sky/name.hpp>

#include <array>
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

struct Config;

/// Everything bounded that a machine or a tenant was given: doc/interfaces.md, "Registry". A plain
/// value; the functions below change it, save_registry() writes it. An index, and what follows from
/// it, is never given to two machine paths at once; it is free again only after forget().
struct Registry {
    struct Disk {
        std::string storage_class; ///< "class" in JSON
        std::uint64_t size_mib = 0;
        std::int64_t kept_since = 0; ///< in `kept`: seconds of the epoch, 0: unknown
        std::string host = {};       ///< in a cluster: where one of a local class lies; else empty
        bool operator==(const Disk&) const = default;
    };
    struct Machine {
        std::uint32_t index = 0;                      ///< 1 and up; MACs and links follow from it
        uid_t uid = 0;                                ///< first of a block of kUidsPerMachine
        std::string machine_id;                       ///< UUID
        std::map<std::string, std::string> addresses; ///< network -> IPv4 address
        std::map<std::string, Disk> volumes;          ///< by name; made on the storage
        bool operator==(const Machine&) const = default;
    };
    struct TenantEntry {
        std::uint32_t index = 0; ///< 1 and up; the bridge's name follows from it
        std::map<std::string, std::string> networks; ///< network -> subnet, "10.88.1.0/24"
        bool operator==(const TenantEntry&) const = default;
    };
    /// Volumes of a machine whose branch was deleted: they wait for a machine of the same path.
    using Kept = std::map<std::string, Disk>;

    /// In a cluster: which change this is, doc/interfaces.md "Registry" of the cluster.
    struct Commit {
        std::uint64_t serial = 0; ///< one more with each; 0: none yet, or a single host
        std::string by;           ///< 16 hex digits that nobody else has
        bool operator==(const Commit&) const = default;
    };

    Commit commit;
    std::uint32_t next_index = 1;
    std::map<std::string, TenantEntry> tenants; ///< by tenant
    std::map<std::string, Machine> machines;    ///< by MachinePath::joined()
    std::map<std::string, Kept> kept;           ///< by MachinePath::joined()

    bool operator==(const Registry&) const = default;

    [[nodiscard]] const Machine* find(const MachinePath& path) const;
    /// How many machines of this tenant are registered.
    [[nodiscard]] std::size_t count(const Tenant& tenant) const;

    /// Strict, and checks that nothing is given out twice. Error(kData) naming the key.
    [[nodiscard]] static Registry parse(std::string_view json);
    [[nodiscard]] std::string dump() const;

    /// What is this tenant's, without commit and next_index.
    [[nodiscard]] Registry part_of(const std::string& tenant) const;
    /// Takes in a part. Nothing is checked: check() does, when all are there.
    void add(Registry part);
    /// That nothing is given out twice. Error(kData).
    void check() const;
};

/// Strict: {"serial","by"}. Error(kData).
[[nodiscard]] Registry::Commit parse_commit(const Json& value, const std::string& path);
[[nodiscard]] Json commit_json(const Registry::Commit& commit);

inline constexpr std::uint32_t kUidsPerMachine = 4;
inline constexpr std::uint32_t kMacsPerMachine = 4;
inline constexpr std::uint32_t kMachineIndexMax = 65535;
/// Offsets in a machine's uid block.
enum class MachineUid : std::uint32_t { kRunner = 0, kGuard = 1, kVirtiofsd = 2, kStorage = 3 };
[[nodiscard]] uid_t machine_uid(const Registry::Machine& machine, MachineUid which) noexcept;

/// What can be given out; registry_limits(Config) reads it from the configuration.
struct RegistryLimits {
    struct Network {
        std::uint32_t first = 0;   ///< network address, host byte order
        std::uint32_t prefix = 16; ///< of the whole
        std::uint32_t tenant_prefix = 24;
        bool shared = false;                            ///< one subnet, of all tenants
        std::optional<std::set<std::string>> tenants{}; ///< who may use it; nothing: everybody
    };
    uid_t uid_first = 0;
    std::uint32_t uid_count = 0;
    std::map<std::string, Network> networks;
};
[[nodiscard]] RegistryLimits registry_limits(const Config& config);

/// Gives `path` an entry, or returns the one it has. `max`: at most so many machines of this
/// tenant. Error(kRefused) with asked, used and allowed when over it; Error(kRefused) naming what
/// has run out and how many there are (uids, indices, subnets, addresses).
const Registry::Machine& register_machine(Registry& registry, const RegistryLimits& limits,
                                          const MachinePath& path,
                                          std::optional<std::uint32_t> max = std::nullopt);

/// Remembers that a volume was made on the storage. Nothing if it is there with the same class;
/// Error(kRefused) if the class or the host differs; a size only grows. The machine must be
/// registered: Error(kRefused). `host`: of a volume that lies on one host, else empty.
void register_volume(Registry& registry, const MachinePath& path, const Volume& volume,
                     std::string_view storage_class, std::uint64_t size_mib,
                     std::string_view host = {});

/// The host that has its volumes of a local class, if it has any: it can run nowhere else.
[[nodiscard]] std::optional<std::string> home_of(const Registry& registry, const MachinePath& path);

/// Takes index, uids and addresses back; volumes stay in `kept` from `now` (seconds of the epoch)
/// on, and come back with register_machine(). The caller has proved that nothing of the machine
/// lives. Nothing if it is not registered.
void forget_machine(Registry& registry, const MachinePath& path, std::int64_t now);

/// Forgets a volume, a machine's or one that is kept: to be called before it is removed, as what
/// the registry knows is refused for being away. Nothing if it is not there.
void forget_volume(Registry& registry, const MachinePath& path, const Volume& volume);

/// MAC of interface `k` (0 .. kMacsPerMachine-1) of machine `index`: 02:5f:KK:NN:NN:NN.
[[nodiscard]] std::string machine_mac(std::uint32_t index, std::uint32_t k);
/// Gateway and DNS of a subnet "10.88.1.0/24": its first address, "10.88.1.1".
[[nodiscard]] std::string gateway_of(std::string_view subnet);
/// A random UUID, version 4.
[[nodiscard]] std::string new_machine_id();

/// The machine's entry as it stands in registry.json.
[[nodiscard]] Json registry_machine_json(const Registry::Machine& machine);

/// SHARED/registry.json, or an empty registry when there is none: on a single host the registry, in
/// a cluster the copy that its last change left there. Throws SysError, Error(kUnavailable) when it
/// is gone though there are machines, Error(kData).
[[nodiscard]] Registry load_registry(const Config& config);
/// Writes STATE/registry.json whole, mode 0640, group `group`. Hold STATE/registry.lock (Lock) from
/// load to save.
void save_registry(const std::filesystem::path& state, const Registry& registry,
                   std::optional<gid_t> group);

} // namespace sky
