// SPDX-License-Identifier: MIT
#include <sky/registry.hpp>

#include <sky/config.hpp>
#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/state.hpp>

#include <algorithm>
#include <arpa/inet.h>
#include <charconv>
#include <random>
#include <set>

namespace sky {
namespace {

constexpr std::uint32_t kFirstHost = 10; ///< below it: the gateway, and room for the operator
constexpr std::size_t kRegistryBytesMax = std::size_t{64} << 20;

std::string ipv4_text(std::uint32_t address) {
    const auto part = [&](unsigned shift) { return (address >> shift) & 0xffU; };
    return fmt::format("{}.{}.{}.{}", part(24), part(16), part(8), part(0));
}

RegistryLimits::Network parse_cidr(std::string_view text) {
    const auto slash = text.find('/');
    in_addr address{};
    std::uint32_t prefix = 33;
    if (slash != std::string_view::npos) {
        const auto digits = text.substr(slash + 1);
        const auto [end, error] =
            std::from_chars(digits.data(), digits.data() + digits.size(), prefix);
        if (error != std::errc{} || end != digits.data() + digits.size()) {
            prefix = 33;
        }
    }
    if (prefix > 32 ||
        ::inet_pton(AF_INET, std::string(text.substr(0, slash)).c_str(), &address) != 1) {
        fail(ExitCode::kData, "'{}' is not an IPv4 network (write 10.88.0.0/16)", printable(text));
    }
    RegistryLimits::Network network;
    network.first = ntohl(address.s_addr);
    network.prefix = prefix;
    return network;
}

/// The addresses of `prefix`, as a number that fits.
std::uint64_t span(std::uint32_t prefix) {
    return std::uint64_t{1} << (32U - prefix);
}

std::uint32_t free_index(const Registry& registry, const RegistryLimits& limits) {
    std::set<std::uint32_t> used;
    for (const auto& [path, machine] : registry.machines) {
        used.insert(machine.index);
    }
    const std::uint32_t blocks = limits.uid_count / kUidsPerMachine;
    const std::uint32_t most = std::min(kMachineIndexMax, blocks == 0 ? 0 : blocks - 1);
    // Going on upwards first leaves what was just taken back alone for as long as possible.
    for (std::uint32_t i = std::max(registry.next_index, 1U); i <= most; ++i) {
        if (!used.contains(i)) {
            return i;
        }
    }
    for (std::uint32_t i = 1; i <= most; ++i) {
        if (!used.contains(i)) {
            return i;
        }
    }
    fail(ExitCode::kRefused, "no machine uid left: all {} are taken (raise machine_uids.count)",
         most);
}

Registry::TenantEntry& tenant_entry(Registry& registry, const Tenant& tenant) {
    const auto found = registry.tenants.find(tenant.str());
    if (found != registry.tenants.end()) {
        return found->second;
    }
    std::set<std::uint32_t> used;
    for (const auto& [name, entry] : registry.tenants) {
        used.insert(entry.index);
    }
    std::uint32_t index = 1;
    while (used.contains(index)) {
        ++index;
    }
    return registry.tenants
        .emplace(tenant.str(), Registry::TenantEntry{.index = index, .networks = {}})
        .first->second;
}

/// Subnet 0 of a network goes last: the first address of the whole often belongs to somebody.
std::string subnet_for(const RegistryLimits::Network& network, const std::string& name,
                       std::uint32_t tenant_index) {
    if (network.shared) {
        return fmt::format("{}/{}", ipv4_text(network.first), network.prefix);
    }
    const std::uint64_t count = std::uint64_t{1} << (network.tenant_prefix - network.prefix);
    if (tenant_index > count) {
        fail(ExitCode::kRefused,
             "no subnet left in network '{}': all {} are taken (widen networks.{}.ipv4)", name,
             count, name);
    }
    const std::uint64_t at = network.first + (tenant_index % count) * span(network.tenant_prefix);
    return fmt::format("{}/{}", ipv4_text(static_cast<std::uint32_t>(at)), network.tenant_prefix);
}

std::string free_address(const Registry& registry, const std::string& network,
                         const std::string& subnet) {
    std::set<std::string> used;
    for (const auto& [path, machine] : registry.machines) {
        const auto at = machine.addresses.find(network);
        if (at != machine.addresses.end()) {
            used.insert(at->second);
        }
    }
    const auto whole = parse_cidr(subnet);
    const auto end = static_cast<std::uint32_t>(span(whole.prefix) - 1); // the broadcast address
    const std::uint32_t middle = end > kFirstHost ? kFirstHost : 2;
    for (std::uint32_t i = middle; i < end; ++i) {
        if (auto text = ipv4_text(whole.first + i); !used.contains(text)) {
            return text;
        }
    }
    for (std::uint32_t i = 2; i < middle; ++i) {
        if (auto text = ipv4_text(whole.first + i); !used.contains(text)) {
            return text;
        }
    }
    fail(ExitCode::kRefused, "no address left in {} of network '{}' (lower its tenant_prefix)",
         subnet, network);
}

/// Subnet and address in every network that the tenant may use and has none yet: it can be new.
void fill_networks(Registry& registry, const RegistryLimits& limits, const MachinePath& path) {
    Registry::TenantEntry& tenant = tenant_entry(registry, path.tenant);
    Registry::Machine& machine = registry.machines.at(path.joined());
    for (const auto& [name, network] : limits.networks) {
        if (network.tenants && !network.tenants->contains(path.tenant.str())) {
            continue;
        }
        if (!tenant.networks.contains(name)) {
            tenant.networks[name] = subnet_for(network, name, tenant.index);
        }
        if (!machine.addresses.contains(name)) {
            machine.addresses[name] = free_address(registry, name, tenant.networks.at(name));
        }
    }
}

void add_machine(Registry& registry, const RegistryLimits& limits, const MachinePath& path) {
    const std::uint32_t index = free_index(registry, limits);
    Registry::Machine machine{.index = index,
                              .uid = limits.uid_first + index * kUidsPerMachine,
                              .machine_id = new_machine_id(),
                              .addresses = {},
                              .volumes = {}};
    if (const auto kept = registry.kept.find(path.joined()); kept != registry.kept.end()) {
        machine.volumes = kept->second;
        for (auto& [name, disk] : machine.volumes) {
            disk.kept_since = 0;
        }
        registry.kept.erase(kept);
    }
    registry.machines.emplace(path.joined(), std::move(machine));
    registry.next_index = index + 1;
}

} // namespace

const Registry::Machine* Registry::find(const MachinePath& path) const {
    const auto at = machines.find(path.joined());
    return at == machines.end() ? nullptr : &at->second;
}

std::size_t Registry::count(const Tenant& tenant) const {
    const std::string start = tenant.str() + ".";
    return static_cast<std::size_t>(
        std::count_if(machines.begin(), machines.end(),
                      [&](const auto& m) { return m.first.starts_with(start); }));
}

uid_t machine_uid(const Registry::Machine& machine, MachineUid which) noexcept {
    return machine.uid + static_cast<uid_t>(which);
}

RegistryLimits registry_limits(const Config& config) {
    RegistryLimits limits{.uid_first = config.machine_uid_first,
                          .uid_count = config.machine_uid_count,
                          .networks = {}};
    for (const auto& [name, network] : config.networks) {
        auto parsed = parse_cidr(network.ipv4);
        parsed.tenant_prefix =
            network.shared ? parsed.prefix : static_cast<std::uint32_t>(network.tenant_prefix);
        parsed.shared = network.shared;
        if (network.tenants) {
            parsed.tenants.emplace();
            for (const Tenant& tenant : *network.tenants) {
                parsed.tenants->insert(tenant.str());
            }
        }
        if (parsed.tenant_prefix < parsed.prefix || parsed.tenant_prefix > 30 ||
            parsed.first % span(parsed.prefix) != 0) {
            fail(ExitCode::kConfig, "networks.{}: ipv4 and tenant_prefix do not fit", name.str());
        }
        limits.networks.emplace(name.str(), parsed);
    }
    return limits;
}

const Registry::Machine& register_machine(Registry& registry, const RegistryLimits& limits,
                                          const MachinePath& path,
                                          std::optional<std::uint32_t> max) {
    Registry changed = registry;
    if (changed.find(path) == nullptr) {
        const std::size_t used = changed.count(path.tenant);
        if (max && used >= *max) {
            fail(ExitCode::kRefused, "machines: asked 1, used {}, allowed {}", used, *max);
        }
        add_machine(changed, limits, path);
    }
    fill_networks(changed, limits, path);
    registry = std::move(changed); // all or nothing
    return registry.machines.at(path.joined());
}

void register_volume(Registry& registry, const MachinePath& path, const Volume& volume,
                     std::string_view storage_class, std::uint64_t size_mib,
                     std::string_view host) {
    const auto machine = registry.machines.find(path.joined());
    if (machine == registry.machines.end()) {
        fail(ExitCode::kRefused, "machine '{}' is not registered", path.text());
    }
    auto& disk = machine->second.volumes[volume.str()];
    if (!disk.storage_class.empty() && disk.storage_class != storage_class) {
        fail(ExitCode::kRefused, "volume '{}' is of another storage class", volume.str());
    }
    if (!disk.host.empty() && disk.host != host) {
        fail(ExitCode::kRefused, "volume '{}' lies on {}", volume.str(), disk.host);
    }
    disk.host = host;
    disk.storage_class = storage_class;
    disk.size_mib = std::max(disk.size_mib, size_mib);
}

std::optional<std::string> home_of(const Registry& registry, const MachinePath& path) {
    if (const auto* machine = registry.find(path)) {
        for (const auto& [name, disk] : machine->volumes) {
            if (!disk.host.empty()) {
                return disk.host;
            }
        }
    }
    return std::nullopt;
}

void forget_machine(Registry& registry, const MachinePath& path, std::int64_t now) {
    const auto machine = registry.machines.find(path.joined());
    if (machine == registry.machines.end()) {
        return;
    }
    if (!machine->second.volumes.empty()) {
        auto& kept = registry.kept[path.joined()] = machine->second.volumes;
        for (auto& [name, disk] : kept) {
            disk.kept_since = now;
        }
    }
    registry.machines.erase(machine);
}

void forget_volume(Registry& registry, const MachinePath& path, const Volume& volume) {
    if (const auto at = registry.machines.find(path.joined()); at != registry.machines.end()) {
        at->second.volumes.erase(volume.str());
    }
    if (const auto at = registry.kept.find(path.joined()); at != registry.kept.end()) {
        at->second.erase(volume.str());
        if (at->second.empty()) {
            registry.kept.erase(at);
        }
    }
}

std::string machine_mac(std::uint32_t index, std::uint32_t k) {
    return fmt::format("02:5f:{:02x}:{:02x}:{:02x}:{:02x}", k & 0xffU, (index >> 16U) & 0xffU,
                       (index >> 8U) & 0xffU, index & 0xffU);
}

std::string gateway_of(std::string_view subnet) {
    return ipv4_text(parse_cidr(subnet).first + 1);
}

std::string new_machine_id() {
    std::random_device random;
    std::array<std::uint32_t, 4> r{random(), random(), random(), random()};
    r[1] = (r[1] & 0xffff0fffU) | 0x4000U;     // version 4: random
    r[2] = (r[2] & 0x3fffffffU) | 0x80000000U; // RFC 4122's variant
    return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:04x}{:08x}", r[0], r[1] >> 16U,
                       r[1] & 0xffffU, r[2] >> 16U, r[2] & 0xffffU, r[3]);
}

namespace {

/// A file that nobody makes before the registry has an entry of its machine, as far as we may look:
/// a volume, a record, what runs.
std::optional<std::filesystem::path> trace_of_machines(const std::filesystem::path& state) {
    namespace fs = std::filesystem;
    const auto known = [](const fs::path& path) {
        const auto name = path.filename().string();
        return name.front() != '.' && (path.extension() == ".img" || path.extension() == ".json");
    };
    for (const char* part : {"volumes", "records", "vm"}) {
        std::error_code error; // another account's, or not there: nothing is known
        for (fs::recursive_directory_iterator
                 at(state / part, fs::directory_options::skip_permission_denied, error),
             end;
             !error && at != end; at.increment(error)) {
            if (known(at->path())) {
                return at->path();
            }
        }
    }
    return std::nullopt;
}

} // namespace

Registry load_registry(const Config& config) {
    const std::filesystem::path& state = config.shared;
    const auto file = State(state).registry();
    const char* again = config.nomad
                            ? "'sky-vm-run registry', as root on a host that reaches Nomad, "
                              "writes it anew"
                            : "bring it back from a backup, see 'A registry that is gone' "
                              "in the handbook for operators";
    const auto text = read_file_if_exists(file, kRegistryBytesMax);
    // To begin a new one would give what machines have, their disks too, to others.
    if (const auto trace = text ? std::nullopt : trace_of_machines(state)) {
        fail(ExitCode::kUnavailable, "'{}' is gone, although '{}' is there ({})", file.string(),
             trace->string(), again);
    }
    try {
        return text ? Registry::parse(*text) : Registry{};
    } catch (const Error& e) {
        fail(e.code(), "'{}': {} ({})", file.string(), e.what(), again);
    }
}

void save_registry(const std::filesystem::path& state, const Registry& registry,
                   std::optional<gid_t> group) {
    WriteOptions options{.mode = 0640};
    options.gid = group;
    atomic_write(State(state).registry(), registry.dump() + "\n", options);
}

} // namespace sky
