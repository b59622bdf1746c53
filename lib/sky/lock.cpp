// SPDX-License-Identifier: MIT
#include <sky/lock.hpp>

#include <sky/error.hpp>
#include <sky/name.hpp>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace sky {
namespace {

// Most locks are held for a few milliseconds.
constexpr std::chrono::milliseconds kShortestNap{1};
constexpr std::chrono::milliseconds kLongestNap{50};

} // namespace

std::optional<Lock> Lock::try_take(const std::filesystem::path& file, std::string_view who) {
    for (;;) {
        Fd fd = open_file(file, O_RDWR | O_CREAT | O_NOFOLLOW | O_NOCTTY, 0600);
        while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
            if (errno == EWOULDBLOCK) {
                return std::nullopt;
            }
            if (errno != EINTR) {
                fail_errno("cannot lock '{}'", file.string());
            }
        }
        struct stat info {};
        if (::fstat(fd.get(), &info) == 0 && info.st_nlink == 0) {
            continue; // its holder removed it after we had opened it: it keeps nobody else out
        }
        if (::ftruncate(fd.get(), 0) == 0) {
            write_all(fd.get(), who);
        }
        return Lock(std::move(fd));
    }
}

void Lock::remove(const std::filesystem::path& file) noexcept {
    ::unlink(file.c_str());
}

Lock Lock::take(const std::filesystem::path& file, std::string_view who,
                std::chrono::milliseconds limit,
                const std::function<void(const std::string&)>& waiting) {
    const auto end = std::chrono::steady_clock::now() + limit;
    bool told = false;
    auto nap = kShortestNap;
    for (;;) {
        if (auto lock = try_take(file, who)) {
            return std::move(*lock);
        }
        if (!told && waiting) {
            waiting(holder(file));
        }
        told = true;
        if (std::chrono::steady_clock::now() >= end) {
            fail(ExitCode::kBusy, "'{}' is held by {} (try again later)", file.filename().string(),
                 holder(file));
        }
        // flock(2) has no timeout, and a blocking one in a thread can not be taken back.
        std::this_thread::sleep_for(nap);
        nap = std::min(nap * 2, kLongestNap);
    }
}

std::string Lock::holder(const std::filesystem::path& file) {
    const auto text = read_file_if_exists(file, 4096);
    return text && !text->empty() ? printable(*text, 200) : "somebody";
}

Fd hold_directory(const std::filesystem::path& directory, bool exclusive) {
    Fd fd = open_file(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    while (::flock(fd.get(), exclusive ? LOCK_EX : LOCK_SH) != 0) {
        if (errno != EINTR) {
            fail_errno("cannot lock '{}'", directory.string());
        }
    }
    return fd;
}

} // namespace sky
