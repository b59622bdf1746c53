// SPDX-License-Identifier: MIT
#include <sky-vm-run/directory-driver.hpp>

#include <sky-vm-run/files.hpp>
#include <sky-vm-run/storage.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/json.hpp>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <linux/fs.h>
#include <nlohmann/json.hpp>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace sky::vm {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMib = 1U << 20U;
constexpr std::uint64_t kMakeShare = 32; ///< an empty ext4 takes less than a 32nd (measured), and
constexpr std::uint64_t kMakeMib = 128;  ///< a little more of a small one

/// The volume's file, or no descriptor when it is not there. The directory is root's alone.
Fd open_volume(const fs::path& file) {
    const int fd = ::open(file.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno != ENOENT) {
        fail_errno("cannot open volume '{}'", file.string());
    }
    return Fd(fd);
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

/// All of one to the other; how much. `sparse`: what is zero becomes a hole of the file `out`.
std::uint64_t pour(int in, int out, bool sparse) {
    std::vector<char> buffer(kMib);
    const std::vector<char> zeros(kMib);
    std::uint64_t all = 0;
    for (;;) {
        std::size_t got = 0;
        for (ssize_t n = 1; got < buffer.size() && n > 0; got += static_cast<std::size_t>(n)) {
            n = ::read(in, buffer.data() + got, buffer.size() - got);
            if (n < 0) {
                fail_errno("cannot read a volume");
            }
        }
        if (got == 0) {
            break;
        }
        all += got;
        if (sparse && std::equal(zeros.begin(), zeros.begin() + static_cast<std::ptrdiff_t>(got),
                                 buffer.begin())) {
            if (::lseek(out, static_cast<off_t>(got), SEEK_CUR) < 0) {
                fail_errno("cannot write a volume");
            }
        } else {
            write_all(out, {buffer.data(), got});
        }
    }
    if (sparse && ::ftruncate(out, static_cast<off_t>(all)) != 0) {
        fail_errno("cannot set the size of a volume");
    }
    return all;
}

void put_in_place(const Fd& fd, const fs::path& fresh, const fs::path& file) {
    sync(fd.get(), fresh);
    if (::rename(fresh.c_str(), file.c_str()) != 0) {
        fail_errno("cannot rename to '{}'", file.string());
    }
    const Fd directory = open_file(file.parent_path(), O_RDONLY | O_DIRECTORY);
    sync(directory.get(), file.parent_path());
}

/// Shares the blocks where the filesystem can, and else copies what is not zero.
void copy_whole(const fs::path& from, const fs::path& to) {
    const Fd in = open_file(from, O_RDONLY | O_NOFOLLOW);
    const fs::path fresh = temporary(to);
    ::unlink(fresh.c_str());
    const Fd out = open_file(fresh, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    try {
        if (::ioctl(out.get(), FICLONE, in.get()) != 0) {
            pour(in.get(), out.get(), true);
        }
        put_in_place(out, fresh, to);
    } catch (...) { // where the disk is full, half a copy would keep it so
        ::unlink(fresh.c_str());
        throw;
    }
}

/// Removes what a crash left.
void remove_temporary(const fs::path& directory) {
    for (const auto& entry : fs::directory_iterator(directory)) {
        if (entry.path().extension() == ".new") {
            ::unlink(entry.path().c_str());
        }
    }
}

/// The volumes there, and where there is none, the directory for them.
std::vector<fs::path> to_open(const fs::path& directory) {
    std::vector<fs::path> out;
    std::error_code none;
    for (const auto& entry : fs::directory_iterator(directory, none)) {
        if (entry.path().extension() == ".img") {
            out.push_back(entry.path());
        }
    }
    return out.empty() && fs::exists(directory) ? std::vector{directory} : out;
}

fs::path inside(const Spec::Disk& disk) {
    return fs::path("/sky/volumes") / (disk.name.str() + ".img");
}

} // namespace

std::string DirectoryDriver::blockdev(const Spec::Disk& disk, const std::string& node,
                                      bool /*flushes*/) const {
    const Json cache{{"direct", true}, {"no-flush", false}};
    // The lock is the filesystem's: where it holds across hosts, two never write at once.
    const Json file{{"driver", "file"},        {"filename", inside(disk).string()},
                    {"aio", "threads"},        {"locking", "on"},
                    {"discard", "unmap"},      {"read-only", disk.read_only},
                    {"auto-read-only", false}, {"cache", cache}};
    return dump_json({{"driver", "raw"},
                      {"node-name", node},
                      {"discard", "unmap"},
                      {"read-only", disk.read_only},
                      {"auto-read-only", false},
                      {"cache", cache},
                      {"file", file}});
}

View DirectoryDriver::view(const Spec::Disk& disk) const {
    return {{.kind = Mount::Kind::kBind,
             .source = file_of(disk.name),
             .target = inside(disk),
             .writable = !disk.read_only}};
}

void DirectoryDriver::check(std::uint64_t make_mib) const {
    if (make_mib > 0) {
        make_directories(directory_, 0711);
        need_room(directory_, (make_mib + kMakeMib) * kMib / kMakeShare);
    }
    if (by_process(of_)) {
        need_storage_process(config_);
        for (const auto& path : to_open(directory_)) {
            need_direct(path);
        }
    }
}

std::optional<std::uint64_t> DirectoryDriver::size(const Volume& name) const {
    const fs::path file = file_of(name);
    const Fd fd = open_volume(file);
    if (!fd) {
        return std::nullopt;
    }
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) {
        fail_errno("cannot stat '{}'", file.string());
    }
    if (!S_ISREG(info.st_mode)) {
        fail(ExitCode::kSystem, "volume '{}' is not a regular file", file.string());
    }
    return static_cast<std::uint64_t>(info.st_size);
}

void DirectoryDriver::make(const Volume& name, std::uint64_t mib) const {
    make_directories(directory_, 0711);
    remove_temporary(directory_);
    const fs::path file = file_of(name);
    const fs::path fresh = temporary(file);
    make_image(config_, fresh, name, mib);
    put_in_place(open_file(fresh, O_RDONLY | O_NOFOLLOW), fresh, file);
}

void DirectoryDriver::grow(const Volume& name, std::uint64_t mib) const {
    const fs::path file = file_of(name);
    const Fd fd = open_volume(file);
    if (::ftruncate(fd.get(), static_cast<off_t>(mib * kMib)) != 0) {
        fail_errno("cannot set the size of '{}'", file.string());
    }
    sync(fd.get(), file);
}

void DirectoryDriver::fence(const std::vector<Volume>& /*names*/, const Former& /*former*/) const {
    // A host without the lease writes no more: who takes the machine waits for that.
}

void DirectoryDriver::hand_over(const Volume& name, uid_t opener) const {
    const Fd fd = open_volume(file_of(name));
    if (::fchown(fd.get(), opener, opener) != 0 || ::fchmod(fd.get(), 0600) != 0) {
        fail_errno("cannot hand over volume '{}'", name.str());
    }
}

std::vector<std::string> DirectoryDriver::clients(const std::vector<Volume>& /*names*/) const {
    return {};
}

void DirectoryDriver::settle() const {
    if (of_.kind != VolumeClass::Kind::kLeased || !fs::exists(directory_)) {
        return;
    }
    for (const auto& entry : fs::directory_iterator(directory_)) {
        const Fd fd = open_volume(entry.path());
        if (fd && ::fsync(fd.get()) != 0) {
            fail_errno("cannot write back '{}'", entry.path().string());
        }
    }
}

void DirectoryDriver::take_back() const {
    if (!fs::exists(directory_)) {
        return;
    }
    for (const auto& entry : fs::directory_iterator(directory_)) {
        const Fd fd = open_volume(entry.path());
        if (fd && ::fchown(fd.get(), 0, 0) != 0) {
            fail_errno("cannot take back '{}'", entry.path().string());
        }
    }
}

void DirectoryDriver::snapshot(const Volume& name, const Volume& as) const {
    const fs::path file = snapshot_of(name, as);
    if (fs::exists(file)) {
        fail(ExitCode::kRefused, "there is a snapshot '{}' already", as.str());
    }
    copy_whole(file_of(name), file);
}

void DirectoryDriver::restore(const Volume& name, const Volume& from) const {
    const fs::path file = snapshot_of(name, from);
    if (!fs::exists(file)) {
        fail(ExitCode::kRefused, "there is no snapshot '{}'", from.str());
    }
    copy_whole(file, file_of(name));
}

void DirectoryDriver::export_to(const Volume& name, int out) const {
    const Fd fd = open_volume(file_of(name));
    pour(fd.get(), out, false);
}

std::uint64_t DirectoryDriver::import_from(const Volume& name, int in) const {
    remove_temporary(directory_);
    const fs::path file = file_of(name);
    const fs::path fresh = temporary(file);
    const Fd fd = open_file(fresh, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    const auto bytes = pour(in, fd.get(), true);
    if (bytes == 0) { // a pipe whose first end failed
        ::unlink(fresh.c_str());
        fail(ExitCode::kData, "nothing came on stdin: volume '{}' is as it was", name.str());
    }
    put_in_place(fd, fresh, file);
    remove_snapshots(name);
    return bytes;
}

void DirectoryDriver::remove_snapshots(const Volume& name) const {
    std::error_code none;
    for (const auto& entry : fs::directory_iterator(directory_, none)) {
        const auto text = entry.path().filename().string();
        if (text.starts_with(name.str() + ".") && text.ends_with(".snap")) {
            ::unlink(entry.path().c_str());
        }
    }
}

void DirectoryDriver::remove(const Volume& name) const {
    const fs::path file = file_of(name);
    if (::unlink(file.c_str()) != 0 && errno_now() != ENOENT) {
        fail_errno("cannot remove '{}'", file.string());
    }
    remove_snapshots(name);
    ::rmdir(directory_.c_str()); // unless there is another
    ::rmdir(directory_.parent_path().c_str());
}

} // namespace sky::vm
