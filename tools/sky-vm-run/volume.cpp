// SPDX-License-Identifier: MIT
#include <sky-vm-run/driver.hpp>
#include <sky-vm-run/files.hpp>
#include <sky-vm-run/storage.hpp>
#include <sky-vm-run/volume.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/lock.hpp>
#include <sky/log.hpp>
#include <sky/privilege.hpp>
#include <sky/process.hpp>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <map>
#include <sys/stat.h>
#include <unistd.h>

namespace sky::vm {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMib = 1U << 20U;
constexpr std::uint64_t kMakeShare = 32; ///< an empty ext4 takes less than a 32nd (measured), and
constexpr std::uint64_t kMakeMib = 128;  ///< a little more of a small one
constexpr std::size_t kLabelMost = 16;   // ext4's

/// The volume's file, or no descriptor when it is not there. The directory is root's alone.
Fd open_volume(const fs::path& file) {
    const int fd = ::open(file.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno != ENOENT) {
        fail_errno("cannot open volume '{}'", file.string());
    }
    return Fd(fd);
}

std::uint64_t size_of(const Fd& fd, const fs::path& file) {
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) {
        fail_errno("cannot stat '{}'", file.string());
    }
    if (!S_ISREG(info.st_mode)) {
        fail(ExitCode::kSystem, "volume '{}' is not a regular file", file.string());
    }
    return static_cast<std::uint64_t>(info.st_size);
}

void set_size(const Fd& fd, std::uint64_t mib, const fs::path& file) {
    if (::ftruncate(fd.get(), static_cast<off_t>(mib * kMib)) != 0) {
        fail_errno("cannot set the size of '{}'", file.string());
    }
}

void sync(int fd, const fs::path& file) {
    if (::fsync(fd) != 0) {
        fail_errno("cannot sync '{}'", file.string());
    }
}

/// A temporary name of this process's own: an mkfs whose starter was killed may still write to its.
fs::path temporary(const fs::path& file) {
    return file.parent_path() / fmt::format(".{}.{}.new", file.filename().string(), ::getpid());
}

/// Removes what a crash left.
void remove_temporary(const fs::path& directory) {
    for (const auto& entry : fs::directory_iterator(directory)) {
        if (entry.path().extension() == ".new") {
            ::unlink(entry.path().c_str());
        }
    }
}

Fd make_volume(const Config& config, const Spec::Disk& disk, const fs::path& file) {
    const auto fresh = temporary(file);
    Fd fd = open_file(fresh, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    set_size(fd, disk.size_mib, fresh);
    const auto made =
        Command(config.programs.mkfs_ext4)
            .args({"-q", "-F", "-L", disk.name.str().substr(0, kLabelMost), "--", fresh.string()})
            .capture("", 1U << 20U, std::chrono::minutes(10), true);
    if (made.exit_code != 0) {
        ::unlink(fresh.c_str());
        fail(ExitCode::kSystem, "cannot format volume '{}': mkfs.ext4 ended with {}: {}",
             disk.name.str(), made.exit_code, printable(made.err, 200));
    }
    sync(fd.get(), fresh);
    if (::rename(fresh.c_str(), file.c_str()) != 0) {
        fail_errno("cannot rename to '{}'", file.string());
    }
    const Fd directory = open_file(file.parent_path(), O_RDONLY | O_DIRECTORY);
    sync(directory.get(), file.parent_path());
    return fd;
}

std::optional<Registry::Disk> known_volume(const Registry::Machine& entry, const Volume& name) {
    const auto at = entry.volumes.find(name.str());
    return at == entry.volumes.end() ? std::nullopt : std::optional(at->second);
}

/// Where a volume of this class stays once it is made; empty: everywhere, or there is but one host.
std::string host_of(const Config& config, const Spec::Disk& disk) {
    const bool local =
        config.volumes.classes.at(disk.storage_class).kind == VolumeClass::Kind::kLocal;
    return config.nomad && local ? config.host : "";
}

/// Before a file is looked for that another host has.
void check_host(const Config& config, const Spec::Disk& disk, const Registry::Machine& entry) {
    const auto known = known_volume(entry, disk.name);
    if (known && !known->host.empty() && known->host != config.host) {
        fail(ExitCode::kRefused, "volume '{}' lies on {}", disk.name.str(), known->host);
    }
}

const Registry::Machine& entry_of(const Registry& registry, const MachinePath& path) {
    const auto* entry = registry.find(path);
    if (entry == nullptr) {
        fail(ExitCode::kRefused, "machine '{}' is not registered", path.text());
    }
    return *entry;
}

/// After the file is whole on the storage: a crash in between leaves a file that the registry does
/// not know, which the next start takes; the other way round it would be refused for ever.
void tell_registry(const Config& config, const Spec& spec) {
    const fs::path file = config.shared / "registry.lock";
    const Lock lock =
        Lock::take(file, fmt::format("sky-vm-run, pid {}", ::getpid()), std::chrono::seconds(10));
    Registry registry = load_registry(config.shared);
    const Registry before = registry;
    for (const auto& disk : spec.volumes) {
        register_volume(registry, spec.path, disk.name, disk.storage_class, disk.size_mib,
                        host_of(config, disk));
    }
    if (!(registry == before)) {
        save_registry(config.shared, registry, account(config.accounts.deploy).gid);
    }
}

} // namespace

VolumeStep plan_volume(const Spec::Disk& disk, const std::optional<Registry::Disk>& known,
                       std::optional<std::uint64_t> file_bytes) {
    if (!file_bytes) {
        if (known) {
            fail(ExitCode::kRefused,
                 "volume '{}' is in the registry and not on the storage: it is never made anew "
                 "(bring its file back, or take it out of the registry)",
                 disk.name.str());
        }
        return VolumeStep::kMake;
    }
    return *file_bytes < disk.size_mib * kMib ? VolumeStep::kGrow : VolumeStep::kKeep;
}

void settle_volumes(const Config& config, const MachinePath& path) {
    const fs::path directory = State(config).volumes(path, VolumeClass::Kind::kLeased);
    const auto& classes = config.volumes.classes;
    const bool leases = std::any_of(classes.begin(), classes.end(), [](const auto& each) {
        return each.second.kind == VolumeClass::Kind::kLeased;
    });
    if (!leases || !fs::exists(directory)) {
        return;
    }
    for (const auto& entry : fs::directory_iterator(directory)) {
        const Fd fd = open_volume(entry.path());
        if (fd && ::fsync(fd.get()) != 0) {
            fail_errno("cannot write back '{}'", entry.path().string());
        }
    }
}

void take_back_volumes(const Config& config, const MachinePath& path) {
    for (const auto& [name, of] : config.volumes.classes) {
        const fs::path directory = State(config).volumes(path, of.kind);
        if (!fs::exists(directory)) {
            continue;
        }
        for (const auto& entry : fs::directory_iterator(directory)) {
            const Fd fd = open_volume(entry.path());
            if (fd && ::fchown(fd.get(), 0, 0) != 0) {
                fail_errno("cannot take back '{}'", entry.path().string());
            }
        }
    }
}

void check_volumes(const Config& config, const Spec& spec, const Registry::Machine& entry) {
    const State state(config);
    std::map<fs::path, std::uint64_t> bytes; // wanted of each storage
    for (const auto& disk : spec.volumes) {
        check_host(config, disk, entry);
        const auto& of = config.volumes.classes.at(disk.storage_class); // check_spec() saw it
        const fs::path directory = state.volumes(spec.path, of.kind);
        if (by_process(of)) {
            static_cast<void>(driver_of(of, directory));
        }
        const fs::path file = directory / (disk.name.str() + ".img");
        const Fd fd = open_volume(file);
        const auto size = fd ? std::optional(size_of(fd, file)) : std::nullopt;
        const auto step = plan_volume(disk, known_volume(entry, disk.name), size);
        if (step == VolumeStep::kMake) {
            make_directories(directory, 0711);
            bytes[directory] += (disk.size_mib + kMakeMib) * kMib / kMakeShare;
        }
        if (by_process(of)) {
            need_storage_process(config);
            need_direct(step == VolumeStep::kMake ? directory : file);
        }
    }
    for (const auto& [directory, wanted] : bytes) {
        need_room(directory, wanted);
    }
}

void attach_volumes(const Config& config, const Spec& spec, uid_t uid) {
    if (spec.volumes.empty()) {
        return;
    }
    const State state(config);
    const Registry registry = load_registry(config.shared);
    const auto& entry = entry_of(registry, spec.path);
    for (const auto& disk : spec.volumes) {
        check_host(config, disk, entry);
        const auto& of = config.volumes.classes.at(disk.storage_class); // check_spec() saw it
        const fs::path directory = state.volumes(spec.path, of.kind);
        make_directories(directory, 0711);
        remove_temporary(directory);
        const fs::path file = directory / (disk.name.str() + ".img");
        Fd fd = open_volume(file);
        const auto size = fd ? std::optional(size_of(fd, file)) : std::nullopt;
        const VolumeStep step = plan_volume(disk, known_volume(entry, disk.name), size);
        switch (step) {
        case VolumeStep::kMake:
            log::info("volume {}: making {} MiB", disk.name.str(), disk.size_mib);
            fd = make_volume(config, disk, file);
            break;
        case VolumeStep::kGrow:
            log::info("volume {}: growing to {} MiB (its file system grows in the machine)",
                      disk.name.str(), disk.size_mib);
            set_size(fd, disk.size_mib, file);
            sync(fd.get(), file);
            break;
        case VolumeStep::kKeep:
            break;
        }
        const uid_t opener =
            uid + static_cast<uid_t>(by_process(of) ? MachineUid::kStorage : MachineUid::kRunner);
        if (::fchown(fd.get(), opener, opener) != 0 || ::fchmod(fd.get(), 0600) != 0) {
            fail_errno("cannot hand over volume '{}'", disk.name.str());
        }
    }
    tell_registry(config, spec);
}

} // namespace sky::vm
