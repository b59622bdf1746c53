// SPDX-License-Identifier: MIT
#include <sky/fd.hpp>

#include <sky/error.hpp>
#include <sky/write-together.hpp>

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <functional>
#include <future>
#include <linux/openat2.h>
#include <set>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace sky {

Fd& Fd::operator=(Fd&& other) noexcept {
    if (this != &other) {
        reset();
        fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
}

void Fd::reset() noexcept {
    if (fd_ >= 0) {
        ::close(fd_);
        fd_ = -1;
    }
}

Pipe make_pipe() {
    std::array<int, 2> ends{-1, -1};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        fail_errno("cannot make a pipe");
    }
    return {Fd(ends[0]), Fd(ends[1])};
}

Fd open_file(const std::filesystem::path& path, int flags, mode_t mode) {
    const int fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
    if (fd < 0) {
        fail_errno("cannot open '{}'", path.string());
    }
    return Fd(fd);
}

Fd open_beneath(int directory, const std::filesystem::path& name, int flags, mode_t mode) {
    open_how how{};
    how.flags = static_cast<std::uint64_t>(flags) | O_CLOEXEC;
    how.mode = mode;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    const long fd = ::syscall(SYS_openat2, directory, name.c_str(), &how, sizeof how);
    if (fd < 0) {
        fail_errno("cannot open '{}'", name.string());
    }
    return Fd(static_cast<int>(fd));
}

std::string read_all(int fd, std::size_t cap, std::string_view what) {
    std::string data;
    std::array<char, 16384> buffer{}; // a stack that grew stays: supervisors live for long
    for (;;) {
        const ssize_t n = ::read(fd, buffer.data(), buffer.size());
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            fail_errno("cannot read {}", what);
        }
        if (n == 0) {
            return data;
        }
        if (data.size() + static_cast<std::size_t>(n) > cap) {
            fail(ExitCode::kData, "{} is larger than {} bytes", what, cap);
        }
        data.append(buffer.data(), static_cast<std::size_t>(n));
    }
}

std::string read_file(const std::filesystem::path& path, std::size_t cap) {
    const Fd fd = open_file(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) {
        fail_errno("cannot stat '{}'", path.string());
    }
    if (!S_ISREG(info.st_mode)) {
        fail(ExitCode::kData, "'{}' is not a regular file", path.string());
    }
    return read_all(fd.get(), cap, "'" + path.string() + "'");
}

std::optional<std::string> read_file_if_exists(const std::filesystem::path& path, std::size_t cap) {
    try {
        return read_file(path, cap);
    } catch (const SysError& e) {
        if (e.errno_value() == ENOENT || e.errno_value() == ENOTDIR) {
            return std::nullopt;
        }
        throw;
    }
}

namespace {

/// " '/path'" of an open file, or nothing: a pipe, a socket, no /proc.
std::string name_of(int fd) {
    std::array<char, 4096> target{};
    const auto link = fmt::format("/proc/self/fd/{}", fd);
    const ssize_t n = ::readlink(link.c_str(), target.data(), target.size());
    const std::string_view name(target.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
    return name.starts_with('/') ? fmt::format(" '{}'", name) : "";
}

} // namespace

void write_all(int fd, std::string_view data) {
    while (!data.empty()) {
        const ssize_t n = ::write(fd, data.data(), data.size());
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            const int saved = errno;
            throw SysError(saved, "cannot write" + name_of(fd), ExitCode::kIo);
        }
        data.remove_prefix(static_cast<std::size_t>(n));
    }
}

namespace {

void sync_directory(const std::filesystem::path& directory) {
    const Fd fd = open_file(directory, O_RDONLY | O_DIRECTORY);
    if (::fsync(fd.get()) != 0) {
        fail_errno("cannot sync '{}'", directory.string());
    }
}

/// The one temporary file of a target, locked: what a writer that was killed left is taken over,
/// and two writers come one after the other.
Fd open_temporary(const std::filesystem::path& temporary) {
    for (;;) {
        Fd fd = open_file(temporary, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0600);
        while (::flock(fd.get(), LOCK_EX) != 0) {
            if (errno != EINTR) {
                fail_errno("cannot lock '{}'", temporary.string());
            }
        }
        struct stat mine {};
        struct stat there {};
        if (::fstat(fd.get(), &mine) != 0) {
            fail_errno("cannot stat '{}'", temporary.string());
        }
        // Who had it before has renamed it: then it is the target's now.
        if (::lstat(temporary.c_str(), &there) != 0 || there.st_ino != mine.st_ino ||
            there.st_dev != mine.st_dev) {
            continue;
        }
        if (::ftruncate(fd.get(), 0) != 0) {
            fail_errno("cannot empty '{}'", temporary.string());
        }
        return fd;
    }
}

void fill(const Fd& fd, const std::filesystem::path& path, std::string_view data,
          const WriteOptions& o) {
    if (::fchmod(fd.get(), o.mode) != 0) {
        fail_errno("cannot set the mode of '{}'", path.string());
    }
    if ((o.uid || o.gid) && ::fchown(fd.get(), o.uid.value_or(static_cast<uid_t>(-1)),
                                     o.gid.value_or(static_cast<gid_t>(-1))) != 0) {
        fail_errno("cannot set the owner of '{}'", path.string());
    }
    try {
        write_all(fd.get(), data);
    } catch (const SysError& e) { // by the name that people know
        throw SysError(e.errno_value(), fmt::format("cannot write '{}'", path.string()),
                       ExitCode::kIo);
    }
}

/// A disk takes what is asked at once in one go.
void at_once(const std::vector<std::function<void()>>& tasks) {
    std::vector<std::future<void>> running;
    running.reserve(tasks.size());
    for (const auto& task : tasks) {
        running.push_back(std::async(std::launch::async, task));
    }
    for (auto& each : running) {
        each.wait();
    }
    for (auto& each : running) {
        each.get();
    }
}

/// A file to be, beside its name; removed unless it gets it.
class Draft {
  public:
    Draft(const std::filesystem::path& path, std::string_view data, const WriteOptions& options)
        : path_(path),
          temporary_(path.parent_path() / fmt::format(".{}.tmp", path.filename().string())),
          fd_(open_temporary(temporary_)) {
        try {
            fill(fd_, path, data, options);
        } catch (...) {
            ::unlink(temporary_.c_str());
            throw;
        }
    }
    Draft(Draft&& other) noexcept = default;
    Draft(const Draft&) = delete;
    Draft& operator=(const Draft&) = delete;
    Draft& operator=(Draft&&) = delete;
    ~Draft() {
        if (fd_) {
            ::unlink(temporary_.c_str());
        }
    }

    void sync() const {
        if (::fsync(fd_.get()) != 0) {
            fail_errno("cannot sync '{}'", path_.string());
        }
    }
    void rename() {
        if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
            fail_errno("cannot rename to '{}'", path_.string());
        }
        fd_.reset();
    }

  private:
    std::filesystem::path path_;
    std::filesystem::path temporary_;
    Fd fd_;
};

} // namespace

void atomic_write(const std::filesystem::path& path, std::string_view data,
                  const WriteOptions& options) {
    Draft draft(path, data, options);
    if (options.durable) {
        draft.sync();
    }
    draft.rename();
    if (options.durable) {
        sync_directory(path.parent_path());
    }
}

void atomic_write_together(const std::vector<FileWrite>& files) {
    std::vector<Draft> drafts;
    std::vector<std::function<void()>> syncs;
    std::set<std::filesystem::path> directories;
    drafts.reserve(files.size());
    for (const auto& file : files) {
        const auto& draft = drafts.emplace_back(file.path, file.data, file.options);
        if (file.options.durable) {
            syncs.emplace_back([&draft] { draft.sync(); });
            directories.insert(file.path.parent_path());
        }
    }
    at_once(syncs);
    for (auto& draft : drafts) {
        draft.rename();
    }
    syncs.clear();
    for (const auto& directory : directories) {
        syncs.emplace_back([&directory] { sync_directory(directory); });
    }
    at_once(syncs);
}

void make_directories(const std::filesystem::path& path, mode_t mode) {
    if (path.has_parent_path() && path != path.root_path() &&
        !std::filesystem::exists(path.parent_path())) {
        make_directories(path.parent_path(), mode);
    }
    if (::mkdir(path.c_str(), mode) != 0) {
        if (errno == EEXIST) {
            return;
        }
        fail_errno("cannot make directory '{}'", path.string());
    }
    if (::chmod(path.c_str(), mode) != 0) {
        fail_errno("cannot set the mode of '{}'", path.string());
    }
}

} // namespace sky
