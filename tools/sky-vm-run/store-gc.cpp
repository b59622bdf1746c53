// SPDX-License-Identifier: MIT
#include <sky-vm-run/store-gc.hpp>

#include <sky-vm-run/store-files.hpp>

#include <sky/error.hpp>

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace sky::vm {
namespace {

bool earlier(const timespec& a, const timespec& b) {
    return a.tv_sec < b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec < b.tv_nsec);
}

/// Nothing when it has gone.
std::optional<struct stat> stat_at(int directory, const std::string& name) {
    struct stat info {};
    if (::fstatat(directory, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0) {
        return info;
    }
    if (errno != ENOENT) {
        fail_errno("cannot stat '{}' of the store", name);
    }
    return std::nullopt;
}

class Sweeper {
  public:
    Sweeper(const std::filesystem::path& store, const StoreSweep& sweep)
        : sweep_(sweep), store_(open_file(store, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)),
          marks_(directory_in(store_.get(), kMarks)),
          aside_(directory_in(store_.get(), kReplaced)) {
        if (!sweep.dry_run) {
            trash_.emplace(store_.get());
        }
    }

    StoreReport run() {
        std::set<std::string> names;
        for (const int directory : {store_.get(), marks_.get()}) {
            for (auto& name : names_in(directory)) {
                names.insert(std::move(name));
            }
        }
        for (const auto& name : names) {
            if (goes(name)) {
                remove(name);
                ++report_.removed;
            } else {
                ++report_.paths;
            }
        }
        sweep_replaced();
        return report_;
    }

  private:
    /// What has no mark is a start's that was killed, or about to get one.
    [[nodiscard]] bool goes(const std::string& name) const {
        if (sweep_.live.contains(name)) {
            return false;
        }
        const auto mark = stat_at(marks_.get(), name);
        const auto made = mark ? mark : stat_at(store_.get(), name);
        return made && earlier(mark ? mark->st_mtim : made->st_ctim, sweep_.before);
    }

    void remove(const std::string& name) {
        if (sweep_.dry_run) {
            return;
        }
        // A fetch may count on it since we looked: it says so by the mark's time, under this lock.
        const DirectoryLock lock(store_.get());
        if (!goes(name)) {
            return;
        }
        if (::unlinkat(marks_.get(), name.c_str(), 0) != 0 && errno != ENOENT) {
            fail_errno("cannot remove the mark of '{}'", name);
        }
        move_to_trash(store_.get(), name);
    }

    /// The trees themselves are removed with the trash, when no lock is held any more.
    void move_to_trash(int from, const std::string& name) {
        if (::renameat(from, name.c_str(), trash_->fd(), name.c_str()) != 0 && errno != ENOENT) {
            fail_errno("cannot move '{}' out of the store", name);
        }
    }

    /// Other bytes under a name that was pushed again: only who was started before may see them.
    void sweep_replaced() {
        for (const auto& name : names_in(aside_.get())) {
            const auto info = stat_at(aside_.get(), name);
            if (!info || !earlier(info->st_ctim, sweep_.before) ||
                (sweep_.oldest && *sweep_.oldest <= info->st_ctim.tv_sec)) {
                continue;
            }
            ++report_.removed;
            if (!sweep_.dry_run) {
                move_to_trash(aside_.get(), name);
            }
        }
    }

    const StoreSweep& sweep_;
    Fd store_;
    Fd marks_;
    Fd aside_;
    std::optional<Incoming> trash_; ///< not in a dry run
    StoreReport report_;
};

} // namespace

StoreReport sweep_store(const std::filesystem::path& store, const StoreSweep& sweep) {
    if (!std::filesystem::exists(store / kMarks)) {
        return {}; // nothing was ever fetched
    }
    return Sweeper(store, sweep).run();
}

} // namespace sky::vm
