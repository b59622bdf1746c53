// SPDX-License-Identifier: MIT
#include <sky-build/unsynced.hpp>

#include <sky/scratch.hpp>

#include <sky/error.hpp>
#include <sky/log.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace sky::build {

namespace {

/// When nix last registered a path; nothing when that is still going on, or not known.
std::optional<std::filesystem::file_time_type> last_registered(const std::filesystem::path& cell) {
    const auto db = cell / "nix/var/nix/db/db.sqlite";
    std::error_code error;
    const auto journal = std::filesystem::file_size(db.native() + "-wal", error);
    if (!error && journal != 0) {
        return std::nullopt;
    }
    const auto time = std::filesystem::last_write_time(db, error);
    return error ? std::nullopt : std::optional(time);
}

/// What a nix that was killed leaves in the store and takes away only when it builds the same
/// again: its locks, the roots of its sandboxes, what it was about to add. What is registered may
/// have such a name, too, but is read-only. To be called while nobody is at work in the cell.
void sweep_killed(const std::filesystem::path& cell) {
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator(cell / "nix/store", none)) {
        const auto name = entry.path().filename().string();
        struct stat info {};
        if ((name.ends_with(".lock") || name.ends_with(".chroot") || name.starts_with("tmp-")) &&
            ::lstat(entry.path().c_str(), &info) == 0 && (info.st_mode & S_IWUSR) != 0 &&
            !S_ISLNK(info.st_mode)) {
            remove_tree(entry.path());
        }
    }
    for (const auto& entry :
         std::filesystem::directory_iterator(cell / "nix/var/nix/temproots", none)) {
        remove_tree(entry.path());
    }
}

} // namespace

Unsynced::Unsynced(std::filesystem::path cell, const std::string& boot)
    : cell_(std::move(cell)),
      note_(open_file(cell_ / "unsynced", O_RDWR | O_CREAT | O_NOFOLLOW, 0600)) {
    if (::flock(note_.get(), LOCK_EX | LOCK_NB) == 0) { // else others are at work, in this boot
        const auto found = read_all(note_.get(), 4096, "the cell's note");
        if (!found.empty() && found != boot) {
            log::say("       the power failed during a build: the cell starts anew");
            for (const char* what : {"nix", "memo", "home"}) {
                remove_tree(cell_ / what);
            }
        }
        sweep_killed(cell_);
        if (found != boot) {
            if (::ftruncate(note_.get(), 0) != 0 || ::lseek(note_.get(), 0, SEEK_SET) != 0) {
                fail_errno("cannot empty '{}'", (cell_ / "unsynced").string());
            }
            write_all(note_.get(), boot);
            if (::fsync(note_.get()) != 0) {
                fail_errno("cannot sync '{}'", (cell_ / "unsynced").string());
            }
        }
    }
    if (::flock(note_.get(), LOCK_SH) != 0) {
        fail_errno("cannot lock '{}'", (cell_ / "unsynced").string());
    }
    registered_ = last_registered(cell_);
}

Unsynced::~Unsynced() {
    // What can not be synced or emptied costs no more than a store built again. Synced first: who
    // still works and registers nothing may empty the note after us.
    const bool idle = registered_ && registered_ == last_registered(cell_);
    if ((idle || ::syncfs(note_.get()) == 0) && ::flock(note_.get(), LOCK_EX | LOCK_NB) == 0) {
        static_cast<void>(::ftruncate(note_.get(), 0) == 0);
    }
}

std::string boot_id() {
    return read_file("/proc/sys/kernel/random/boot_id", 64);
}

} // namespace sky::build
