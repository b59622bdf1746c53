// SPDX-License-Identifier: MIT
#include <sky-vm-run/view.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace sky::vm {
namespace {

namespace fs = std::filesystem;

constexpr std::uint32_t kRunMib = 64;

Mount bind_to(fs::path source, fs::path target, bool writable = false) {
    return {.kind = Mount::Kind::kBind,
            .source = std::move(source),
            .target = std::move(target),
            .writable = writable};
}

Mount link_to(fs::path to, fs::path target) {
    return {.kind = Mount::Kind::kLink, .source = std::move(to), .target = std::move(target)};
}

Mount device(const fs::path& path) {
    return {.kind = Mount::Kind::kDevice, .source = path, .target = path};
}

/// `own`: paths of the host's store that a helper runs from. They stand in for the closure's of the
/// same name, which a cell may have forged.
void add_closure(View& view, const std::vector<StorePath>& closure, const fs::path& store,
                 const std::vector<fs::path>& own = {}) {
    view.push_back(
        {.kind = Mount::Kind::kTmpfs, .source = {}, .target = "/nix/store", .size_mib = 16});
    for (const auto& path : closure) {
        if (std::find(own.begin(), own.end(), path.str()) == own.end()) {
            view.push_back(bind_to(store / path.base(), path.str()));
        }
    }
    for (const auto& path : own) {
        view.push_back(bind_to(path, path));
    }
    view.push_back({.kind = Mount::Kind::kReadOnly, .source = {}, .target = "/nix/store"});
}

void set_attributes(const fs::path& path, std::uint64_t set, bool recursive) {
    mount_attr attributes{};
    attributes.attr_set = set;
    const unsigned flags = recursive ? static_cast<unsigned>(AT_RECURSIVE) : 0U;
    if (::syscall(SYS_mount_setattr, AT_FDCWD, path.c_str(), flags, &attributes,
                  sizeof attributes) != 0) {
        fail_errno("cannot set how '{}' is mounted", path.string());
    }
}

void mount_on(const char* source, const fs::path& target, const char* type, unsigned long flags,
              const std::string& data = "") {
    if (::mount(source, target.c_str(), type, flags, data.empty() ? nullptr : data.c_str()) != 0) {
        fail_errno("cannot mount on '{}'", target.string());
    }
}

/// Makes the place for a mount: nothing below the new root was written by anybody else.
void make_place(const fs::path& target, bool directory) {
    make_directories(directory ? target : target.parent_path(), 0755);
    if (!directory) {
        open_file(target, O_RDONLY | O_CREAT | O_NOFOLLOW, 0644).reset();
    }
}

void make_link(const fs::path& to, const fs::path& target) {
    make_directories(target.parent_path(), 0755);
    if (::symlink(to.c_str(), target.c_str()) != 0) {
        fail_errno("cannot make link '{}'", target.string());
    }
}

void apply_bind(const Mount& mount, const fs::path& target, bool is_device) {
    struct stat info {};
    if (::lstat(mount.source.c_str(), &info) != 0) {
        if (is_device && errno == ENOENT) {
            return;
        }
        fail_errno("cannot find '{}'", mount.source.string());
    }
    if (S_ISLNK(info.st_mode)) {
        make_link(fs::read_symlink(mount.source), target);
        return;
    }
    if (is_device && !S_ISCHR(info.st_mode)) {
        return;
    }
    make_place(target, S_ISDIR(info.st_mode));
    mount_on(mount.source.c_str(), target, nullptr, is_device ? MS_BIND : MS_BIND | MS_REC);
    const bool nodes = is_device || S_ISBLK(info.st_mode);
    set_attributes(target,
                   MOUNT_ATTR_NOSUID | (nodes ? 0UL : MOUNT_ATTR_NODEV) |
                       (mount.writable || is_device ? 0UL : MOUNT_ATTR_RDONLY),
                   true);
}

void apply(const Mount& mount, const fs::path& root) {
    const fs::path target = root / mount.target.relative_path();
    switch (mount.kind) {
    case Mount::Kind::kTmpfs:
        make_place(target, true);
        mount_on("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV,
                 fmt::format("size={}m,nr_inodes=65536,mode={},uid={},gid={}", mount.size_mib,
                             mount.uid == 0 ? "0755" : "0700", mount.uid, mount.uid));
        return;
    case Mount::Kind::kBind:
    case Mount::Kind::kDevice:
        apply_bind(mount, target, mount.kind == Mount::Kind::kDevice);
        return;
    case Mount::Kind::kFile:
        make_place(target, false);
        return;
    case Mount::Kind::kLink:
        make_link(mount.source, target);
        return;
    case Mount::Kind::kReadOnly:
        set_attributes(target, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, true);
        return;
    case Mount::Kind::kProc:
        make_place(target, true);
        mount_on("proc", target, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC);
        return;
    }
}

} // namespace

View plan_runner_view(const Spec& spec, const std::vector<StorePath>& closure,
                      const ViewSources& sources, uid_t uid) {
    View view;
    add_closure(view, closure, sources.store);
    view.push_back({.kind = Mount::Kind::kTmpfs,
                    .source = {},
                    .target = "/sky/run",
                    .uid = uid,
                    .size_mib = kRunMib});
    for (const auto& disk : spec.volumes) {
        const std::string name = disk.name.str() + ".img";
        view.push_back(bind_to(sources.volumes.at(disk.storage_class) / name,
                               fs::path("/sky/volumes") / name, !disk.read_only));
    }
    if (spec.store == Spec::Store::kVirtiofs) {
        view.push_back(bind_to(sources.socks, "/sky/sock"));
    }
    for (const char* name : {"kvm", "net/tun", "null", "zero", "full", "random", "urandom"}) {
        view.push_back(device(fs::path("/dev") / name));
    }
    view.push_back(link_to("/proc/self/fd", "/dev/fd"));
    view.push_back(link_to("/sky/run", "/tmp"));
    view.push_back({.kind = Mount::Kind::kProc, .source = {}, .target = "/proc"});
    return view;
}

View plan_share_view(const Config& config, const std::vector<StorePath>& closure,
                     const ViewSources& sources) {
    View view;
    std::vector<fs::path> own;
    std::vector<fs::path> others;
    for (const auto& root : config.program_roots) {
        (root.parent_path() == "/nix/store" ? own : others).push_back(root);
    }
    add_closure(view, closure, sources.store, own);
    for (const auto& root : others) {
        view.push_back(bind_to(root, root));
    }
    view.push_back(bind_to(config.programs.virtiofsd, "/sky/virtiofsd"));
    for (const char* name : {"null", "urandom"}) {
        view.push_back(device(fs::path("/dev") / name));
    }
    view.push_back({.kind = Mount::Kind::kProc, .source = {}, .target = "/proc"});
    return view;
}

void enter_view(const View& view, const fs::path& root) {
    // Or every mount below would reach the host.
    mount_on(nullptr, "/", nullptr, MS_REC | MS_PRIVATE);
    mount_on("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=16m,nr_inodes=131072,mode=0755");
    for (const auto& mount : view) {
        apply(mount, root);
    }
    set_attributes(root, MOUNT_ATTR_RDONLY, false);
    if (::chdir(root.c_str()) != 0 || ::syscall(SYS_pivot_root, ".", ".") != 0 ||
        ::umount2(".", MNT_DETACH) != 0 || ::chdir("/") != 0) {
        fail_errno("cannot make '{}' the root", root.string());
    }
}

} // namespace sky::vm
