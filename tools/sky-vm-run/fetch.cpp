// SPDX-License-Identifier: MIT
#include "fetch.hpp"

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/hash.hpp>
#include <sky/name.hpp>
#include <sky/nar.hpp>
#include <sky/narinfo.hpp>
#include <sky/zstd.hpp>

#include <array>
#include <cerrno>
#include <cstdio>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <random>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace sky::vm {
namespace {

constexpr const char* kIncoming = ".incoming"; // store/T/.incoming/RANDOM/HASH-NAME: not whole yet
constexpr const char* kMarks = ".ok"; // store/T/.ok/HASH-NAME -> NARHASH: whole, and this it is
constexpr const char* kReplaced = ".replaced"; // what a running machine may still use

Fd directory_in(int parent, const char* name) {
    if (::mkdirat(parent, name, S_IRWXU) != 0 && errno != EEXIST) {
        fail_errno("cannot make directory '{}'", name);
    }
    return open_beneath(parent, name, O_RDONLY | O_DIRECTORY);
}

std::string random_name() {
    std::random_device random;
    return fmt::format("{:08x}{:08x}", random(), random());
}

/// The NAR hash that the mark of `name` tells, or nothing if `name` is not known to be whole.
std::string mark_of(int marks, const std::string& name) {
    std::array<char, 128> text{};
    const ssize_t n = ::readlinkat(marks, name.c_str(), text.data(), text.size());
    if (n < 0 && errno != ENOENT) {
        fail_errno("cannot read the mark of '{}'", name);
    }
    return n < 0 ? std::string() : std::string(text.data(), static_cast<std::size_t>(n));
}

/// Removes a tree of our own, relative to a descriptor. Best effort: what stays is swept by the
/// next fetch.
void remove_tree(int directory, const std::string& name, std::size_t depth = 0) noexcept {
    if (::unlinkat(directory, name.c_str(), 0) == 0 || (errno != EISDIR && errno != EPERM) ||
        depth > 256) {
        return;
    }
    const int fd =
        ::openat(directory, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    ::fchmod(fd, S_IRWXU);
    DIR* stream = ::fdopendir(fd);
    if (stream == nullptr) {
        ::close(fd);
        return;
    }
    for (const dirent* entry = ::readdir(stream); entry != nullptr; entry = ::readdir(stream)) {
        const std::string child(static_cast<const char*>(entry->d_name));
        if (child != "." && child != "..") {
            remove_tree(::dirfd(stream), child, depth + 1);
        }
    }
    ::closedir(stream);
    ::unlinkat(directory, name.c_str(), AT_REMOVEDIR);
}

/// An flock(2) on a directory, ended by this scope or this process's death.
class DirectoryLock {
  public:
    explicit DirectoryLock(int fd) : fd_(fd) {
        while (::flock(fd_, LOCK_EX) != 0) {
            if (errno != EINTR) {
                fail_errno("cannot lock the store");
            }
        }
    }
    DirectoryLock(const DirectoryLock&) = delete;
    DirectoryLock& operator=(const DirectoryLock&) = delete;
    ~DirectoryLock() { ::flock(fd_, LOCK_UN); }

  private:
    int fd_;
};

std::vector<std::string> names_in(int directory) {
    Fd copy = open_beneath(directory, ".", O_RDONLY | O_DIRECTORY);
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(copy.get()), ::closedir);
    if (!stream) {
        fail_errno("cannot read a directory of the store");
    }
    static_cast<void>(copy.release());
    std::vector<std::string> names;
    for (const dirent* e = ::readdir(stream.get()); e != nullptr; e = ::readdir(stream.get())) {
        if (e->d_name[0] != '.') {
            names.emplace_back(static_cast<const char*>(e->d_name));
        }
    }
    return names;
}

/// A directory of this fetch's own below store/T/.incoming; an flock on it says that it lives.
/// Removed at the end, and by whoever fetches next if this process dies.
class Incoming {
  public:
    explicit Incoming(int store) : parent_(directory_in(store, kIncoming)), name_(random_name()) {
        const DirectoryLock lock(parent_.get()); // nobody sweeps between mkdir and flock
        for (const auto& name : names_in(parent_.get())) {
            sweep(name);
        }
        own_ = directory_in(parent_.get(), name_.c_str());
        if (::flock(own_.get(), LOCK_EX | LOCK_NB) != 0) {
            fail_errno("cannot lock '{}'", name_);
        }
    }
    Incoming(const Incoming&) = delete;
    Incoming& operator=(const Incoming&) = delete;
    ~Incoming() { remove_tree(parent_.get(), name_); }

    [[nodiscard]] int fd() const noexcept { return own_.get(); }
    [[nodiscard]] int parent() const noexcept { return parent_.get(); }

  private:
    void sweep(const std::string& name) const {
        try {
            const Fd fd = open_beneath(parent_.get(), name, O_RDONLY | O_DIRECTORY);
            if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) {
                remove_tree(parent_.get(), name);
            }
        } catch (const SysError& e) {
            if (e.errno_value() != ENOENT) { // its owner has just removed it
                throw;
            }
        }
    }

    Fd parent_;
    Fd own_;
    std::string name_;
};

/// Opens a file of the cache: a service account's directory, so no link is followed and nothing can
/// block.
Fd open_cached(int cache, const std::string& name) {
    try {
        Fd fd = open_beneath(cache, name, O_RDONLY | O_NONBLOCK | O_NOCTTY);
        struct stat info {};
        if (::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
            fail(ExitCode::kData, "'{}' is not a regular file", name);
        }
        return fd;
    } catch (const SysError& e) {
        if (e.errno_value() != ENOENT) {
            throw;
        }
        fail(ExitCode::kUnavailable, "not there");
    }
}

void unpack(int cache, int incoming, const RecordPath& entry) {
    const Fd info_file = open_cached(cache, entry.path.hash() + ".narinfo");
    const auto info = parse_narinfo(read_all(info_file.get(), kNarInfoCap, "its narinfo"));
    const Fd nar = open_cached(cache, info.url());
    const auto packed = fd_source(nar.get());
    const Source plain = info.compressed ? zstd_source(packed) : packed;
    Hasher hasher;
    const Source hashed = [&](char* buffer, std::size_t size) {
        const auto n = plain(buffer, size);
        hasher.update({buffer, n});
        return n;
    };
    nar_restore(hashed, incoming, entry.path.base(), {.bytes = entry.nar_size});
    if (hasher.size() != entry.nar_size || hasher.finish() != entry.nar_hash) {
        fail(ExitCode::kData, "not what its record says");
    }
}

/// unpack(), and what is wrong with the cache's copy told by its name.
void take(int cache, int incoming, const RecordPath& entry) {
    try {
        unpack(cache, incoming, entry);
    } catch (const SysError&) {
        throw;
    } catch (const Error& e) {
        fail(e.code(), "'{}' in the cache: {} (push it again)", entry.path.base(), e.what());
    }
}

/// Gives a whole and synced path its name and its mark. To be called under the lock: somebody may
/// have been faster.
void publish(const Incoming& incoming, int store, int marks, const RecordPath& entry) {
    const auto name = entry.path.base();
    const auto hash = nar_hash_text(entry.nar_hash);
    const auto mark = mark_of(marks, name);
    if (mark == hash) {
        return;
    }
    if (::unlinkat(marks, name.c_str(), 0) != 0 && errno != ENOENT) {
        fail_errno("cannot remove the mark of '{}'", name);
    }
    // Other bytes under the same name (the tenant built it again): a machine may run from them, so
    // they stay, aside. What has no mark was never used.
    const Fd aside = directory_in(store, kReplaced);
    const auto other = random_name();
    if (::renameat(store, name.c_str(), aside.get(), other.c_str()) == 0) {
        if (mark.empty()) {
            remove_tree(aside.get(), other);
        }
    } else if (errno != ENOENT) {
        fail_errno("cannot move '{}' aside", name);
    }
    if (::renameat(incoming.fd(), name.c_str(), store, name.c_str()) != 0) {
        fail_errno("cannot rename '{}' into the store", name);
    }
    if (::symlinkat(hash.c_str(), marks, name.c_str()) != 0) {
        fail_errno("cannot mark '{}' as whole", name);
    }
}

std::vector<const RecordPath*> lacking_of(const Record& record, int marks) {
    std::vector<const RecordPath*> lacking;
    for (const auto& entry : record.closure) {
        if (mark_of(marks, entry.path.base()) != nar_hash_text(entry.nar_hash)) {
            lacking.push_back(&entry);
        }
    }
    return lacking;
}

} // namespace

Fetched fetch_closure(const Record& record, const std::filesystem::path& cache,
                      const std::filesystem::path& store,
                      const std::function<void(std::size_t done, std::size_t all)>& progress) {
    const Fd into = open_file(store, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    const Fd marks = directory_in(into.get(), kMarks);
    Fetched fetched;
    if (lacking_of(record, marks.get()).empty()) {
        return fetched;
    }
    // Machines that start together share most of their closures: one after another, so that each
    // path is unpacked once.
    const DirectoryLock turn(marks.get());
    const auto lacking = lacking_of(record, marks.get());
    if (lacking.empty()) {
        return fetched;
    }
    const Fd from = open_file(cache, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    const Incoming incoming(into.get());
    for (const auto* entry : lacking) {
        if (progress) {
            progress(fetched.paths, lacking.size());
        }
        take(from.get(), incoming.fd(), *entry);
        ++fetched.paths;
        fetched.bytes += entry->nar_size;
    }
    // A mark outlives a power cut only together with what it speaks of.
    if (::syncfs(into.get()) != 0) {
        fail_errno("cannot sync the store");
    }
    const DirectoryLock lock(incoming.parent());
    for (const auto* entry : lacking) {
        publish(incoming, into.get(), marks.get(), *entry);
    }
    return fetched;
}

std::size_t lacking_of(const Record& record, const std::filesystem::path& store) {
    std::size_t lacking = record.closure.size();
    try {
        const Fd marks = open_file(store / kMarks, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
        for (const auto& entry : record.closure) {
            if (mark_of(marks.get(), entry.path.base()) == nar_hash_text(entry.nar_hash)) {
                --lacking;
            }
        }
    } catch (const SysError& e) {
        if (e.errno_value() != ENOENT) { // nothing was ever fetched
            throw;
        }
    }
    return lacking;
}

} // namespace sky::vm
