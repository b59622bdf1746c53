// SPDX-License-Identifier: MIT
#include <sky-vm-run/storage.hpp>

#include <sky-vm-run/confine.hpp>
#include <sky-vm-run/storage-plan.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/log.hpp>
#include <sky/process.hpp>
#include <sky/registry.hpp>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

namespace sky::vm {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFuse = "/dev/fuse";
constexpr unsigned long kFiles = 1024;
constexpr unsigned long kConnections = 16384; ///< to the daemons of a storage in the network
constexpr std::size_t kCopyMost = 64U << 10U;
constexpr std::size_t kMostRead = 64U << 20U; ///< of one request: what QEMU's export asks for
constexpr int kExecFailed = 127;

void mount_here(const char* what, const fs::path& target, const char* type, unsigned long flags,
                const std::string& data) {
    if (::mount(what, target.c_str(), type, flags, data.empty() ? nullptr : data.c_str()) != 0) {
        fail_errno("cannot mount on '{}'", target.string());
    }
}

/// Mounts a FUSE file over `target`; who reads the descriptor answers for it. Whoever sees the
/// mount may open the file: that is the sandbox alone.
Fd mount_file(const fs::path& target, bool read_only, uid_t uid) {
    open_file(target, O_RDONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600).reset();
    Fd device = open_file(kFuse, O_RDWR);
    mount_here("skyflake", target, "fuse",
               MS_NOSUID | MS_NODEV | MS_NOEXEC |
                   (read_only ? static_cast<unsigned long>(MS_RDONLY) : 0UL),
               fmt::format("fd={},rootmode=100000,user_id={},group_id={},allow_other,max_read={}",
                           device.get(), uid, uid, kMostRead));
    return device;
}

/// Before this host's files are out of sight: of keys there is no other copy.
void copy_files(const StoragePlan& plan, const fs::path& directory, uid_t uid) {
    make_directories(directory, 0700);
    for (const auto& file : plan.files) {
        const Fd fd = open_file(directory / file.name, O_WRONLY | O_CREAT | O_EXCL, 0400);
        write_all(fd.get(), read_file(file.source, kCopyMost) + file.more);
        if (::fchown(fd.get(), uid, uid) != 0) {
            fail_errno("cannot hand over '{}'", file.name);
        }
    }
}

struct Order {
    const Vm* vm;
    const StoragePlan* plan;
    StoragePrograms programs;
    int network = -1; ///< the host's network namespace
    uid_t uid = 0;
    std::uint64_t largest = 0; ///< bytes of a volume
    fs::path modules = {};     ///< of the program's drivers; empty: they are built in
};

/// Where a program of QEMU's has the driver for RBD if that is a module.
fs::path modules_of(const fs::path& program) {
    const fs::path lib = program.parent_path().parent_path() / "lib";
    std::vector<fs::path> places{lib / "qemu"};
    std::error_code none;
    for (const auto& entry : fs::directory_iterator(lib, none)) {
        places.push_back(entry.path() / "qemu"); // Debian's has the architecture between
    }
    for (const auto& place : places) {
        if (fs::exists(place / "block-rbd.so", none)) {
            return place;
        }
    }
    return {};
}

/// From fork to exec. What goes wrong stands in the process's log.
[[noreturn]] void run_daemon(const Order& order, const std::vector<Fd>& fuse, int log) noexcept {
    try {
        std::vector<int> devices;
        devices.reserve(fuse.size());
        for (const auto& fd : fuse) {
            devices.push_back(fd.get());
        }
        const Fd null = open_file("/dev/null", O_RDONLY);
        ::dup2(null.get(), 0);
        ::dup2(log, 1);
        ::dup2(log, 2);
        const bool network = order.plan->network;
        if (::unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | (network ? 0 : CLONE_NEWNET)) !=
            0) {
            fail_errno("cannot make namespaces");
        }
        if (network && ::setns(order.network, CLONE_NEWNET) != 0) {
            fail_errno("cannot enter the host's network");
        }
        enter_view(plan_storage_view(order.vm->config, *order.plan, order.programs, devices),
                   order.vm->files.root());
        limit_resources(network ? kConnections : kFiles);
        limit_file_size(order.largest);
        filter_calls();
        become({order.uid, {}});
        ::setsid();
        ::umask(0077);
        Command command("/sky/bin/qemu-storage-daemon");
        command.args(storage_arguments(*order.plan, devices)).clear_env().env("PATH", "/sky/bin");
        if (!order.modules.empty()) { // it looks for them beside its program, which is in /sky
            command.env("QEMU_MODULE_DIR", order.modules.string());
        }
        for (const int fd : devices) {
            command.pass_fd(fd);
        }
        command.exec();
    } catch (const std::exception& e) {
        log::error("{}", e.what());
        ::_exit(kExecFailed);
    }
}

/// The last line that the process said.
std::string last_words(const fs::path& log) {
    auto text = read_file_if_exists(log, 1U << 20U).value_or("");
    while (!text.empty() && text.back() == '\n') {
        text.pop_back();
    }
    return text.empty() ? "it ended" : printable(text.substr(text.rfind('\n') + 1), 300);
}

std::uint64_t largest_of(const StoragePlan& plan, const Spec& spec) {
    std::uint64_t bytes = 0;
    for (const auto& disk : spec.volumes) {
        bytes = std::max(bytes, disk.size_mib << 20U);
    }
    for (const auto& mount : plan.view) { // one that was larger once is not made smaller
        std::error_code none;
        const auto size = fs::file_size(mount.source, none);
        bytes = none ? bytes : std::max<std::uint64_t>(bytes, size);
    }
    return bytes;
}

} // namespace

pid_t start_storage(const Vm& vm, const Running& running, int network) {
    const StoragePlan plan = plan_storage(vm.config, running.spec);
    if (plan.volumes.empty()) {
        return 0;
    }
    const auto disks = vm.files.disks();
    make_directories(disks, 0700);
    mount_here(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, ""); // or the host would have them
    mount_here("tmpfs", disks, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=0700");
    const Order order{&vm,
                      &plan,
                      {fs::canonical(vm.config.programs.qemu_storage_daemon),
                       fs::canonical(vm.config.tool("sky-fusermount")), disks / ".etc"},
                      network,
                      running.uid + static_cast<uid_t>(MachineUid::kStorage),
                      largest_of(plan, running.spec),
                      modules_of(fs::canonical(vm.config.programs.qemu_storage_daemon))};
    copy_files(plan, order.programs.copies, order.uid);
    std::vector<Fd> fuse;
    fuse.reserve(plan.volumes.size());
    for (const auto& volume : plan.volumes) {
        fuse.push_back(mount_file(disks / volume.file, volume.read_only, order.uid));
    }
    const Fd log = open_file(vm.files.storage_log(),
                             O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW, 0600);
    const pid_t pid = ::fork();
    if (pid < 0) {
        fail_errno("cannot start the storage process");
    }
    if (pid == 0) {
        run_daemon(order, fuse, log.get());
    }
    fuse.clear(); // it alone answers: when it ends, so does every request
    for (const auto& volume : plan.volumes) {
        struct stat info {};
        if (::stat((disks / volume.file).c_str(), &info) != 0) { // answered once it is open
            fail(ExitCode::kUnavailable, "the volumes can not be opened: {}",
                 last_words(vm.files.storage_log()));
        }
        // The size that it has, set again: nothing changes, but that takes the image's lock.
        if (volume.locked && ::truncate((disks / volume.file).c_str(), info.st_size) != 0) {
            fail_errno("cannot lock volume '{}'", volume.file);
        }
    }
    return pid;
}

void need_storage_process(const Config& config) {
    for (const auto& path :
         {fs::path(kFuse), config.programs.qemu_storage_daemon, config.tool("sky-fusermount")}) {
        if (::access(path.c_str(), F_OK) != 0) {
            fail(ExitCode::kConfig, "'{}' is not there, which leased volumes need{}", path.string(),
                 path == kFuse ? " (modprobe fuse)" : "");
        }
    }
}

void need_direct(const fs::path& path) {
    const bool directory = fs::is_directory(path);
    const auto probe =
        directory ? path / fmt::format(".direct.{}.new", ::getpid()) : path; // swept by its ending
    const int fd = ::open(
        probe.c_str(),
        O_RDWR | O_DIRECT | O_NOFOLLOW | O_CLOEXEC | (directory ? O_CREAT | O_EXCL : 0), 0600);
    const int error = errno;
    const Fd file(fd);
    if (directory) {
        ::unlink(probe.c_str());
    }
    if (!file && error != EINVAL) {
        throw SysError(error, fmt::format("cannot open '{}'", probe.string()));
    }
    struct statfs info {};
    // tmpfs takes O_DIRECT for granted, and is memory all the same.
    if (!file || (::fstatfs(file.get(), &info) == 0 && info.f_type == TMPFS_MAGIC)) {
        fail(ExitCode::kConfig,
             "'{}': its filesystem has no O_DIRECT, so that writes outlive who may write (a leased "
             "class needs one that has)",
             path.string());
    }
}

} // namespace sky::vm
