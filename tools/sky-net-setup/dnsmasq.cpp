// SPDX-License-Identifier: MIT
#include <sky-net-setup/dnsmasq.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/lines.hpp>
#include <sky/log.hpp>
#include <sky/privilege.hpp>
#include <sky/process.hpp>
#include <sky/state.hpp>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <fmt/ranges.h>
#include <grp.h>
#include <set>
#include <sstream>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

namespace sky::net {
namespace {

using std::chrono::milliseconds;
constexpr std::size_t kFileCap = 16U << 20U;
constexpr milliseconds kStopPatience{3000};
constexpr milliseconds kStartPatience{10000};

/// A path as dnsmasq's configuration takes it literally.
const std::string& plain(const std::string& path) {
    const bool good = std::all_of(path.begin(), path.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '/' || c == '.' || c == '_' || c == '-' || c == '+';
    });
    if (!good) {
        fail(ExitCode::kConfig, "state: '{}' has characters that dnsmasq can not take",
             printable(path));
    }
    return path;
}

std::string group_name(gid_t gid) {
    std::vector<char> buffer(16384);
    group entry{};
    group* found = nullptr;
    if (::getgrgid_r(gid, &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr) {
        fail(ExitCode::kConfig, "accounts.dns: no group {} on this host", gid);
    }
    return entry.gr_name;
}

std::string config_argument(const DnsFiles& files) {
    return "--conf-file=" + files.conf.string();
}

/// A pidfd of `pid` if that is the dnsmasq of these files: its uid and its own command line say so.
/// The pidfd is opened first, so what was checked is what gets the signal.
Fd daemon_at(pid_t pid, const DnsFiles& files, uid_t uid) {
    Fd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    const std::filesystem::path proc = "/proc/" + std::to_string(pid);
    struct stat status {};
    if (!fd || ::stat(proc.c_str(), &status) != 0 || (status.st_uid != uid && status.st_uid != 0)) {
        return Fd();
    }
    std::string line;
    try {
        line = read_all(open_file(proc / "cmdline", O_RDONLY).get(), 65536, "cmdline");
    } catch (const Error&) {
        return Fd(); // gone, or no command line of ours
    }
    std::istringstream words(line);
    std::string word;
    const std::string wanted = config_argument(files);
    while (std::getline(words, word, '\0')) {
        if (word == wanted) {
            return fd;
        }
    }
    return Fd();
}

std::optional<pid_t> number_in(std::string_view text) {
    pid_t pid = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), pid);
    const bool whole = end == text.data() + text.size() || *end == '\n';
    return error == std::errc{} && whole && pid > 1 ? std::optional(pid) : std::nullopt;
}

Fd daemon_by_pid_file(const DnsFiles& files, uid_t uid) {
    const auto text = read_file_if_exists(files.pid, 64);
    const auto pid = text ? number_in(*text) : std::nullopt;
    return pid ? daemon_at(*pid, files, uid) : Fd();
}

/// By the pid file, or, when that is missing or stale, among all processes.
Fd find_daemon(const DnsFiles& files, uid_t uid) {
    if (Fd fd = daemon_by_pid_file(files, uid)) {
        return fd;
    }
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
        if (const auto pid = number_in(entry.path().filename().string())) {
            if (Fd fd = daemon_at(*pid, files, uid)) {
                return fd;
            }
        }
    }
    return Fd();
}

void signal_daemon(const Fd& daemon, int signal) {
    if (::syscall(SYS_pidfd_send_signal, daemon.get(), signal, nullptr, 0) != 0 && errno != ESRCH) {
        fail_errno("cannot signal dnsmasq");
    }
}

/// All of them: a start that was killed half-way may have left one that no pid file tells of.
void stop_daemons(const DnsFiles& files, uid_t uid) {
    while (const Fd daemon = find_daemon(files, uid)) {
        signal_daemon(daemon, SIGTERM);
        if (!readable(daemon.get(), kStopPatience)) {
            signal_daemon(daemon, SIGKILL);
            if (!readable(daemon.get(), kStopPatience)) {
                fail(ExitCode::kSystem, "dnsmasq of '{}' does not end", files.conf.string());
            }
        }
    }
}

void start_daemon(const Config& config, const DnsFiles& files, const Account& account) {
    atomic_write(files.leases, "",
                 {.mode = 0644, .uid = account.uid, .gid = account.gid, .durable = false});
    const Captured result = Command(config.programs.dnsmasq)
                                .arg(config_argument(files))
                                .cwd("/")
                                .capture("", 65536, kStartPatience, true);
    if (result.exit_code != 0) {
        fail(ExitCode::kSystem, "dnsmasq for '{}' does not start: {}", files.conf.stem().string(),
             printable(result.err, 200));
    }
}

bool same(const std::filesystem::path& file, const std::string& text) {
    const auto old = read_file_if_exists(file, kFileCap);
    return old && *old == text;
}

/// True if every line of the file is in `text` too.
bool only_added(const std::filesystem::path& file, const std::string& text) {
    std::set<std::string> lines;
    std::string line;
    for (std::istringstream in(text); std::getline(in, line);) {
        lines.insert(line);
    }
    std::istringstream old(read_file_if_exists(file, kFileCap).value_or(""));
    while (std::getline(old, line)) {
        if (!lines.contains(line)) {
            return false;
        }
    }
    return true;
}

} // namespace

DnsFiles::DnsFiles(const std::filesystem::path& directory, const std::string& bridge)
    : conf(directory / (bridge + ".conf")), hosts(directory / (bridge + ".hosts")),
      names(directory / (bridge + ".names")), leases(directory / (bridge + ".leases")),
      pid(directory / (bridge + ".pid")) {}

std::string render_dns_conf(const Bridge& bridge, const DnsFiles& files, const std::string& user,
                            const std::string& group) {
    std::string text = "# written by sky-net-setup, which overwrites it\n";
    const auto line = [&](std::string_view key, std::string_view value) {
        text += fmt::format("{}={}\n", key, value);
    };
    line("user", user);
    line("group", group);
    line("pid-file", plain(files.pid.string()));
    line("interface", bridge.name);
    line("except-interface", "lo");
    if (bridge.mode == Mode::kRouted) {
        // What comes from a tap is taken as if it came from the link that has the prefix; what that
        // advertises goes to each of them, by itself too.
        for (const std::string& tap : bridge.taps) {
            line("interface", tap);
            line("bridge-interface", fmt::format("{},{}", bridge.name, tap));
        }
        text += "bind-dynamic\n";
    } else {
        text += "bind-interfaces\n";
    }
    text += "no-hosts\ndomain-needed\nbogus-priv\n";
    line("addn-hosts", plain(files.names.string()));
    if (!bridge.dns.empty()) {
        text += "no-resolv\n";
        for (const std::string& server : bridge.dns) {
            if (family_of(server) == 0) {
                fail(ExitCode::kConfig, "networks.*.dns: '{}' is not an address",
                     printable(server));
            }
            line("server", server);
        }
    }
    line("dhcp-range",
         fmt::format("{},static,{},1h", bridge.subnet.base.str(), bridge.subnet.netmask()));
    line("dhcp-hostsfile", plain(files.hosts.string()));
    line("dhcp-leasefile", plain(files.leases.string()));
    line("dhcp-lease-max", "65535");
    line("dhcp-ignore", "tag:!known");
    text += "dhcp-ignore-names\ndhcp-authoritative\n";
    line("dhcp-option", fmt::format("option:mtu,{}", bridge.mtu));
    if (!bridge.ipv6.empty()) { // addresses follow from MACs, the gateway is on its link-local one
        text += "enable-ra\n";
        line("dhcp-range",
             bridge.ipv6 + (bridge.mode == Mode::kRouted ? ",ra-only,off-link" : ",ra-only"));
        line("ra-param", fmt::format("{},mtu:{},60", bridge.name, bridge.mtu));
    }
    return text + "no-ping\nquiet-dhcp\n";
}

std::string render_dns_hosts(const Bridge& bridge) {
    std::string text;
    for (const auto& host : bridge.hosts) {
        text += fmt::format("{},{}\n", host.mac, host.address.str());
    }
    return text;
}

std::string render_dns_names(const Bridge& bridge) {
    std::string text;
    for (const auto& host : bridge.hosts) {
        for (const std::string& address : {host.address.str(), host.ipv6}) {
            if (!address.empty()) {
                text += fmt::format("{} {}\n", address, fmt::join(host.names, " "));
            }
        }
    }
    for (const std::string& line : bridge.elsewhere.value_or(std::vector<std::string>{})) {
        text += line + "\n";
    }
    return text;
}

void ensure_dnsmasq(const Config& config, const Bridge& bridge, bool reload) {
    const DnsFiles files(State(config).net(), bridge.name);
    const Account user = account(config.accounts.dns);
    const std::string conf =
        render_dns_conf(bridge, files, config.accounts.dns, group_name(user.gid));
    const std::string hosts = render_dns_hosts(bridge);
    std::string names = render_dns_names(bridge);
    if (!bridge.elsewhere) { // without the registry what is known stays
        names = read_file_if_exists(files.names, kFileCap).value_or(names);
    }
    const bool unchanged = same(files.hosts, hosts) && same(files.names, names);
    // Stop before the files change: whoever is killed in between leaves no daemon with old leases.
    if (!same(files.conf, conf) || !only_added(files.hosts, hosts)) {
        stop_daemons(files, user.uid);
    }
    if (!unchanged || !same(files.conf, conf)) {
        const WriteOptions readable_by_dns{.mode = 0644, .durable = false};
        atomic_write(files.names, names, readable_by_dns);
        atomic_write(files.hosts, hosts, readable_by_dns);
        atomic_write(files.conf, conf, readable_by_dns);
    }
    if (const Fd daemon = find_daemon(files, user.uid)) {
        if (reload || !unchanged) {
            signal_daemon(daemon, SIGHUP);
        }
        return;
    }
    log::debug("starting dnsmasq for {}", bridge.name);
    start_daemon(config, files, user);
}

bool dnsmasq_runs(const Config& config, const std::string& bridge) {
    return static_cast<bool>(daemon_by_pid_file(DnsFiles(State(config).net(), bridge),
                                                account(config.accounts.dns).uid));
}

void remove_dnsmasq(const Config& config, const std::string& bridge) {
    const DnsFiles files(State(config).net(), bridge);
    stop_daemons(files, account(config.accounts.dns).uid);
    for (const auto& file : {files.hosts, files.names, files.leases, files.pid, files.conf}) {
        std::filesystem::remove(file); // the configuration last: it tells that there is more
    }
}

} // namespace sky::net
