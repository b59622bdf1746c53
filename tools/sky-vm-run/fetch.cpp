// SPDX-License-Identifier: MIT
#include "fetch.hpp"
#include "store-files.hpp"

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
    } catch (const SysError& e) {
        if (e.errno_value() == EIO) { // no verdict on the cache's copy: another try may read it
            fail(ExitCode::kIo, "'{}' in the cache: {} (its disk or the store's is failing)",
                 entry.path.base(), e.what());
        }
        throw;
    } catch (const Error& e) {
        fail(e.code(), "'{}' in the cache: {} (push it again)", entry.path.base(), e.what());
    }
}

/// Whether `store` has the path whole, with the record's bytes. It is not read again: bytes that
/// change later are for sky-vm-run verify to find.
bool has(int store, int marks, const RecordPath& entry) {
    const auto name = entry.path.base();
    return mark_of(marks, name) == nar_hash_text(entry.nar_hash) &&
           ::faccessat(store, name.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/// Gives a whole and synced path its name and its mark. To be called under the store's lock, so
/// that the garbage collector does not take the new one for the old one that it has looked at.
void publish(const Incoming& incoming, int store, int marks, const RecordPath& entry) {
    const auto name = entry.path.base();
    const auto hash = nar_hash_text(entry.nar_hash);
    const auto mark = mark_of(marks, name);
    if (has(store, marks, entry)) {
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

/// What the closure lacks. The marks of the rest get the time of this use: from here on the garbage
/// collector leaves them.
std::vector<const RecordPath*> use(const Record& record, int store, int marks) {
    const DirectoryLock lock(store); // not between its look at a mark and what it does
    std::vector<const RecordPath*> lacking;
    for (const auto& entry : record.closure) {
        const auto name = entry.path.base();
        if (!has(store, marks, entry)) {
            lacking.push_back(&entry);
        } else if (::utimensat(marks, name.c_str(), nullptr, AT_SYMLINK_NOFOLLOW) != 0) {
            fail_errno("cannot touch the mark of '{}'", name);
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
    if (use(record, into.get(), marks.get()).empty()) {
        return fetched;
    }
    // Machines that start together share most of their closures: one after another, so that each
    // path is unpacked once.
    const DirectoryLock turn(marks.get());
    const auto lacking = use(record, into.get(), marks.get());
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
    // A mark outlives a power cut only together with what it speaks of: all bytes are on the disk
    // before the first name and the first mark, so no start need read them again.
    if (::syncfs(into.get()) != 0) {
        fail_errno("cannot sync the store");
    }
    const DirectoryLock lock(into.get());
    for (const auto* entry : lacking) {
        publish(incoming, into.get(), marks.get(), *entry);
    }
    return fetched;
}

std::size_t lacking_of(const Record& record, const std::filesystem::path& store) {
    std::size_t lacking = record.closure.size();
    try {
        const Fd into = open_file(store, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
        const Fd marks = open_beneath(into.get(), kMarks, O_RDONLY | O_DIRECTORY);
        for (const auto& entry : record.closure) {
            if (has(into.get(), marks.get(), entry)) {
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
