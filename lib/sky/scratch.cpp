// SPDX-License-Identifier: MIT
#include <sky/scratch.hpp>

#include <sky/error.hpp>
#include <sky/freed.hpp>
#include <sky/name.hpp>

#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace sky {

namespace {

/// 0, or the errno of the first thing that stays.
int remove_at(int parent, const char* name) noexcept {
    if (::unlinkat(parent, name, 0) == 0 || errno == ENOENT) {
        return 0;
    }
    int why = errno;
    // A path descriptor can be had of a directory that we may not read yet.
    const Fd path(::openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!path) {
        return why;
    }
    why = 0;
    // By the descriptor: under the name there may be a link by now.
    const auto opened = fmt::format("/proc/self/fd/{}", path.get());
    [[maybe_unused]] const int changed = ::chmod(opened.c_str(), 0700);
    Fd readable(::openat(path.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (const std::unique_ptr<DIR, Freed<::closedir>> dir{readable ? ::fdopendir(readable.release())
                                                                   : nullptr}) {
        while (const dirent* entry = ::readdir(dir.get())) {
            const std::string child = static_cast<const char*>(entry->d_name);
            if (child != "." && child != "..") {
                const int stays = remove_at(::dirfd(dir.get()), child.c_str());
                why = why != 0 ? why : stays;
            }
        }
    }
    if (::unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT) {
        return 0;
    }
    return why != 0 ? why : errno;
}

/// The directory, if it is still there and nobody else holds it.
Fd try_hold(const std::filesystem::path& path) {
    Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    struct stat st {};
    if (!fd || ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0 || ::fstat(fd.get(), &st) != 0 ||
        st.st_nlink == 0) {
        return Fd();
    }
    return fd;
}

} // namespace

void remove_tree(const std::filesystem::path& path) noexcept {
    remove_at(AT_FDCWD, path.c_str());
}

void remove_tree_whole(const std::filesystem::path& path) {
    if (const int why = remove_at(AT_FDCWD, path.c_str()); why != 0) {
        errno = why;
        fail_errno("cannot remove all of '{}'", path.string());
    }
}

void sweep_scratch(const std::filesystem::path& parent) {
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator(parent, none)) {
        if (const Fd dead = try_hold(entry.path())) {
            remove_tree(entry.path());
        }
    }
}

Scratch::Scratch(const std::filesystem::path& parent) {
    sweep_scratch(parent);
    // Another one's sweep can hold or remove ours before we do: then take another name.
    for (int tries = 0; tries < 100 && !lock_; ++tries) {
        path_ = parent / new_build_id().str();
        if (::mkdir(path_.c_str(), 0700) != 0) {
            fail_errno("cannot make '{}'", path_.string());
        }
        lock_ = try_hold(path_);
    }
    if (!lock_) {
        fail(ExitCode::kBusy, "cannot hold a directory in '{}'", parent.string());
    }
    make_directories(tmp(), 0700);
    make_directories(etc(), 0700);
}

} // namespace sky
