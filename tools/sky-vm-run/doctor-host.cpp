// SPDX-License-Identifier: MIT
#include <sky-vm-run/accounts.hpp>
#include <sky-vm-run/doctor.hpp>
#include <sky-vm-run/driver.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/process.hpp>
#include <sky/state.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <unistd.h>

namespace sky::vm {
namespace {

using Path = std::filesystem::path;

void check_marker(const Config& config, Findings& findings) {
    Report report(findings, "storage");
    try {
        check_storage(config);
        report.good(fmt::format("{} is this configuration's", config.shared.string()));
    } catch (const Error& e) {
        report.bad(e.what(), "mount it; on a new host: sky-vm-run storage init");
    }
}

/// Warns below a tenth, and a push is sure to fail below a hundredth.
void check_room(const Path& directory, Findings& findings) {
    Report report(findings, "room");
    struct statvfs room {};
    if (::statvfs(directory.c_str(), &room) != 0) {
        return; // the storage's finding says it
    }
    const auto percent = [](auto left, auto all) {
        return all == 0 ? 100.0 : 100.0 * static_cast<double>(left) / static_cast<double>(all);
    };
    const double bytes = percent(room.f_bavail, room.f_blocks);
    const double files = percent(room.f_favail, room.f_files);
    const auto text = fmt::format("{}: {:.0f}% of the bytes, {:.0f}% of the files free",
                                  directory.string(), bytes, files);
    const char* way = "sky-vm-run gc, sky-build gc and sky-cache-push gc make room; else a larger "
                      "disk";
    if (std::min(bytes, files) < 1) {
        report.bad(text, way);
    } else if (std::min(bytes, files) < 10) {
        report.warning(text, way);
    } else {
        report.good(text);
    }
}

struct Needed {
    const char* name;
    Path path;
    std::vector<int> least; ///< empty: any
    const char* package;
    std::vector<std::string> ask{"--version"};
};

std::string text_of(const std::vector<int>& version) {
    return fmt::format("{}", fmt::join(version, "."));
}

void check_program(const Needed& needed, Findings& findings) {
    Report report(findings, "programs");
    const auto path = needed.path.string();
    if (::access(path.c_str(), X_OK) != 0) {
        report.bad(fmt::format("{} is not there: '{}'", needed.name, path),
                   fmt::format("install {}, or say in 'programs' where it is", needed.package));
        return;
    }
    if (needed.least.empty()) {
        report.good(path);
        return;
    }
    std::vector<int> version;
    try {
        const auto said = Command(needed.path)
                              .args(needed.ask)
                              .capture("", 65536, std::chrono::seconds(10), true);
        version = version_in(said.out + said.err);
    } catch (const Error& e) {
        report.bad(e.what(), fmt::format("install {} again", needed.package));
        return;
    }
    if (version < needed.least) {
        report.bad(fmt::format("{} {} is too old: '{}'", needed.name, text_of(version), path),
                   fmt::format("{} or newer is needed", text_of(needed.least)));
    } else {
        report.good(fmt::format("{} {}", path, text_of(version)));
    }
}

bool fences(const VolumeClass& of) noexcept {
    return of.kind == VolumeClass::Kind::kFenced;
}

bool any_class(const Config& config, bool (*is)(const VolumeClass&)) {
    return std::any_of(config.volumes.classes.begin(), config.volumes.classes.end(),
                       [&](const auto& entry) { return is(entry.second); });
}

void check_programs(const Config& config, Findings& findings) {
    const auto& p = config.programs;
    std::vector<Needed> all{
        {"git", p.git, {2, 29}, "git"}, // proc-receive
        {"bubblewrap", p.bwrap, {0, 4}, "bubblewrap"},
        {"pasta", p.pasta, {}, "passt"},
        {"virtiofsd",
         p.virtiofsd,
         {1, 10},
         "virtiofsd 1.10"}, // shares a read-only tree unprivileged
        {"dnsmasq", p.dnsmasq, {2, 80}, "dnsmasq-base"},
        {"mkfs.ext4", p.mkfs_ext4, {}, "e2fsprogs"},
        {"nix for cells", config.cell.root / "bin/nix", {}, "nix into cell.root"},
        {"the cells' static shell",
         config.cell.root / config.cell.shell.relative_path(),
         {},
         "busybox-static into cell.root"},
    };
    if (with_systemd()) {
        all.push_back({"systemd-run", p.systemd_run, {}, "systemd"});
    }
    if (any_class(config, by_process)) {
        all.push_back({"qemu-storage-daemon", p.qemu_storage_daemon, {7, 0}, "qemu-utils"});
    }
    if (any_class(config, fences)) {
        all.push_back({"ceph", p.ceph, {16}, "ceph-common"});
        all.push_back({"rados", p.rados, {}, "ceph-common"});
        all.push_back({"rbd", p.rbd, {}, "ceph-common"});
    }
    for (const char* tool : {"sky-shell", "sky-build", "sky-cache-push", "sky-nomad-submit",
                             "sky-net-setup", "sky-vm-run"}) {
        all.push_back({tool, config.tool(tool), {}, "Skyflake whole"});
    }
    for (const auto& hook : {"proc-receive", "post-receive"}) {
        all.push_back({hook, config.hooks / hook, {}, "Skyflake whole"});
    }
    for (const auto& each : all) {
        check_program(each, findings);
    }
    Report report(findings, "programs");
    struct stat info {};
    if (::stat(p.sudo.c_str(), &info) != 0 || info.st_uid != 0 || (info.st_mode & S_ISUID) == 0) {
        report.bad(fmt::format("'{}' is not there, or not setuid root", p.sudo.string()),
                   "install sudo");
    } else {
        report.good(p.sudo.string());
    }
    Report inputs(findings, "inputs");
    for (const char* name : {"nixpkgs", "microvm"}) {
        const auto at = config.cell.inputs.find(name);
        if (at == config.cell.inputs.end() || !std::filesystem::exists(at->second / "flake.nix")) {
            inputs.bad(fmt::format("no source of '{}' for tenants' builds", name),
                       fmt::format("a source tree with flake.nix, named in cell.inputs.{}", name));
        } else {
            inputs.good(at->second.string());
        }
    }
}

void check_kernel(const Config& config, Findings& findings) {
    Report report(findings, "kernel");
    const auto device = [&](const char* path, const char* way, mode_t mode) {
        struct stat info {};
        if (::stat(path, &info) != 0 || !S_ISCHR(info.st_mode)) {
            report.bad(fmt::format("no {}", path), way);
        } else if ((info.st_mode & mode) != mode) {
            report.bad(fmt::format("{} is closed to all but root", path),
                       fmt::format("chmod 0666 {}, as udev does", path));
        } else {
            report.good(path);
        }
    };
    device("/dev/net/tun", "modprobe tun", 06); // tenants' builds open it, by pasta
    const Fd kvm(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
    if (kvm && ::ioctl(kvm.get(), KVM_GET_API_VERSION, 0) == KVM_API_VERSION) {
        report.good("/dev/kvm");
    } else {
        report.warning("no /dev/kvm that works: machines run by emulation, ten times slower",
                       "switch virtualization on in the firmware, or modprobe kvm_intel, kvm_amd");
    }
    if (any_class(config, by_process)) {
        device("/dev/fuse", "modprobe fuse", 0);
    }
    const auto number = [](const char* file) {
        const auto text = read_file_if_exists(file, 64);
        return text ? std::atoll(text->c_str()) : -1;
    };
    if (number("/proc/sys/user/max_user_namespaces") == 0 ||
        number("/proc/sys/kernel/unprivileged_userns_clone") == 0) {
        report.bad("user namespaces are off: no tenant can build",
                   "sysctl user.max_user_namespaces=100000 kernel.unprivileged_userns_clone=1");
    } else {
        report.good("user namespaces");
    }
    if (Command(config.tool("sky-net-setup"))
            .args({"--config", config.file.string(), "list"})
            .out(STDERR_FILENO)
            .run() != 0) {
        report.bad("sky-net-setup can not tell the network's state, see above",
                   "modprobe bridge nf_tables");
    }
}

void check_cgroups(const Config& config, Findings& findings) {
    Report report(findings, "cgroups");
    if (const auto all = read_file_if_exists("/sys/fs/cgroup/cgroup.controllers", 4096)) {
        for (const char* needed : {"memory", "pids", "cpu"}) {
            if ((" " + *all).find(" " + std::string(needed)) == std::string::npos) {
                report.bad(fmt::format("the kernel gives no '{}' controller", needed),
                           "boot without cgroup_disable");
                return;
            }
        }
        report.good("version 2, with memory, pids and cpu");
        return;
    }
    if (config.cell.cgroups.empty()) {
        report.warning(
            "version 1, and no cell.cgroups: tenants' builds have no limits",
            "boot with systemd.unified_cgroup_hierarchy=1, or name them in cell.cgroups");
        return;
    }
    for (const auto& directory : config.cell.cgroups) {
        for (const auto& [name, tenant] : config.tenants) {
            if (!std::filesystem::exists(directory / name.str() / "cgroup.procs")) {
                report.bad(fmt::format("no '{}'", (directory / name.str()).string()),
                           "make it, and its cgroup.procs the tenant's");
                return;
            }
        }
    }
    report.good("version 1, as cell.cgroups says");
}

void check_clock(Findings& findings) {
    Report report(findings, "clock");
    timex state{};
    const int result = ::adjtimex(&state);
    if (result == TIME_ERROR || (static_cast<unsigned>(state.status) & STA_UNSYNC) != 0) {
        report.warning("nobody keeps this host's clock right",
                       "systemctl enable --now systemd-timesyncd, or chrony");
    } else {
        report.good("kept right");
    }
}

} // namespace

std::vector<int> version_in(std::string_view text) {
    std::vector<int> version;
    const auto digit = [&](std::size_t at) {
        return at < text.size() && std::isdigit(static_cast<unsigned char>(text[at])) != 0;
    };
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (!digit(at)) {
            continue;
        }
        int number = 0;
        for (; digit(at); ++at) {
            number = std::min(number * 10 + (text[at] - '0'), 1000000);
        }
        version.push_back(number);
        if (text[std::min(at, text.size() - 1)] != '.' || !digit(at + 1)) {
            if (version.size() > 1) {
                return version;
            }
            version.clear(); // a number alone: "bwrap2"
        }
    }
    return version;
}

void check_host(const Config& config, Findings& findings) {
    check_marker(config, findings);
    check_room(config.state, findings);
    if (config.shared != config.state) {
        check_room(config.shared, findings);
    }
    check_programs(config, findings);
    check_kernel(config, findings);
    check_cgroups(config, findings);
    check_clock(findings);
}

} // namespace sky::vm
