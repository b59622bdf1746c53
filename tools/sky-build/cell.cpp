// SPDX-License-Identifier: MIT
#include <sky-build/cell.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <sstream>

namespace sky::build {

namespace {

using Argv = std::vector<std::string>;

void add(Argv& argv, std::initializer_list<std::string> words) {
    argv.insert(argv.end(), words);
}

/// bwrap gives the cell these itself.
bool reserved(const std::string& name) {
    static constexpr std::array kReserved{"nix",  "home", "tmp", "etc",
                                          "proc", "dev",  "run", "inputs"};
    return std::find(kReserved.begin(), kReserved.end(), name) != kReserved.end();
}

void bind_entry(Argv& argv, const std::filesystem::path& directory, const CellEntry& entry,
                const std::string& inside) {
    if (entry.link) {
        add(argv, {"--symlink", *entry.link, inside + entry.name});
    } else {
        add(argv, {"--ro-bind", (directory / entry.name).string(), inside + entry.name});
    }
}

/// The namespace's only way out is pasta's sockets, which are the tenant's uid: nftables sees that.
/// No ports in either direction, and the gateway's address is not a name for the host's loopback.
void add_pasta(Argv& argv, const CellPlan& plan) {
    add(argv, {plan.pasta.string(), "--config-net", "-q", "-f", "-t", "none", "-u", "none", "-T",
               "none", "-U", "none", "--no-map-gw"});
    if (plan.forward_dns) {
        add(argv, {"--dns-forward", kForwardedDns});
    }
    argv.emplace_back("--");
}

void add_files(Argv& argv, const CellPlan& plan, const CellCommand& command) {
    for (const CellEntry& entry : plan.entries) {
        if (!reserved(entry.name)) {
            bind_entry(argv, plan.root, entry, "/");
        }
    }
    for (const CellEntry& entry : plan.etc) {
        if (std::find(std::begin(kOwnEtc), std::end(kOwnEtc), entry.name) == std::end(kOwnEtc)) {
            bind_entry(argv, plan.root / "etc", entry, "/etc/");
        }
    }
    for (const char* name : kOwnEtc) {
        add(argv, {"--ro-bind", (plan.own_etc / name).string(), std::string("/etc/") + name});
    }
    add(argv, {"--bind", plan.nix.string(), "/nix", "--bind", plan.home.string(), "/home", "--bind",
               plan.tmp.string(), "/tmp", "--proc", "/proc", "--dev", "/dev"});
    // `nix-store` is nix by another name: its --realise means the same in every version.
    // As build-remote it declines what there are no builders for; 2.8 looks for that hook
    // elsewhere.
    add(argv,
        {"--symlink", "/bin/nix", "/run/nix-store", "--symlink", "/bin/nix", "/run/build-remote"});
    add(argv, {"--symlink", plan.shell.string(), "/run/sh"}); // a busybox goes by its name
    for (const auto& [host, cell] : command.binds) {
        add(argv, {"--ro-bind", host.string(), cell});
    }
}

void add_environment(Argv& argv, const CellPlan& plan) {
    add(argv, {"--clearenv",
               "--setenv",
               "HOME",
               "/home",
               "--setenv",
               "USER",
               "nix",
               "--setenv",
               "PATH",
               "/bin",
               "--setenv",
               "LANG",
               "C.UTF-8",
               "--setenv",
               "TERM",
               "dumb",
               "--setenv",
               "NO_COLOR",
               "1",
               "--setenv",
               "NIX_REMOTE",
               "local",
               "--setenv",
               "NIX_SSL_CERT_FILE",
               "/etc/ssl/certs/ca-certificates.crt",
               "--setenv",
               "NIX_CONFIG",
               plan.nix_config});
}

} // namespace

std::vector<std::string> cell_argv(const CellPlan& plan, const CellCommand& command) {
    Argv argv;
    const bool pasta = command.network && plan.outside;
    if (pasta) {
        add_pasta(argv, plan);
    }
    // Behind pasta we are root of its user namespace: without --uid nix would take itself for root.
    add(argv, {plan.bwrap.string(), "--unshare-user", "--uid", "1000", "--gid", "100",
               "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try",
               "--hostname", "cell", "--die-with-parent", "--new-session"});
    if (!pasta) {
        argv.emplace_back("--unshare-net");
    }
    add_files(argv, plan, command);
    add_environment(argv, plan);
    add(argv, {"--chdir", "/tmp", "--"});
    argv.insert(argv.end(), command.argv.begin(), command.argv.end());
    return argv;
}

bool has_default_route(std::string_view route4, std::string_view route6) {
    std::istringstream four{std::string(route4)};
    for (std::string line; std::getline(four, line);) {
        std::istringstream words(line);
        std::string interface, destination, gateway, flags, count, use, metric, mask;
        words >> interface >> destination >> gateway >> flags >> count >> use >> metric >> mask;
        if (destination == "00000000" && mask == "00000000") {
            return true;
        }
    }
    std::istringstream six{std::string(route6)};
    for (std::string line; std::getline(six, line);) {
        std::istringstream words(line);
        std::vector<std::string> fields{std::istream_iterator<std::string>(words), {}};
        // destination, its length, source, its length, next hop, metric, references, use, flags,
        // name
        if (fields.size() == 10 && fields[0] == std::string(32, '0') && fields[1] == "00" &&
            fields[9] != "lo") {
            return true;
        }
    }
    return false;
}

Resolvers cell_resolvers(std::string_view host_resolv_conf) {
    Resolvers result;
    bool loopback = false;
    std::istringstream lines{std::string(host_resolv_conf)};
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        std::string key, address;
        words >> key >> address;
        if (key != "nameserver" || address.empty()) {
            continue;
        }
        if (address.rfind("127.", 0) == 0 || address == "::1") {
            loopback = true;
        } else {
            result.text += "nameserver " + address + "\n";
        }
    }
    result.forward = result.text.empty() && loopback;
    if (result.forward) {
        result.text = fmt::format("nameserver {}\n", kForwardedDns);
    }
    return result;
}

std::vector<CellEntry> read_entries(const std::filesystem::path& directory) {
    std::vector<CellEntry> result;
    std::error_code error;
    for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end;
         it.increment(error)) {
        CellEntry entry{it->path().filename().string(), std::nullopt};
        if (it->is_symlink(error) && !error) {
            entry.link = std::filesystem::read_symlink(it->path(), error).string();
        }
        result.push_back(std::move(entry));
    }
    if (error) {
        throw SysError(error.value(), fmt::format("cannot read '{}'", directory.string()),
                       ExitCode::kConfig);
    }
    std::sort(result.begin(), result.end(),
              [](const CellEntry& a, const CellEntry& b) { return a.name < b.name; });
    return result;
}

void write_etc(const std::filesystem::path& directory, std::string_view resolv_conf,
               std::string_view registry) {
    const WriteOptions options{.mode = 0644, .durable = false};
    atomic_write(directory / "passwd", "nix:x:1000:100:nix:/home:/bin/sh\n", options);
    atomic_write(directory / "group", "nix:x:100:\n", options);
    atomic_write(directory / "hosts", "127.0.0.1 localhost cell\n::1 localhost\n", options);
    atomic_write(directory / "resolv.conf", resolv_conf, options);
    atomic_write(directory / "registry.json", registry, options);
}

} // namespace sky::build
