// SPDX-License-Identifier: MIT
// NARs from and to the filesystem: always relative to a descriptor, never through a link.
#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/name.hpp>
#include <sky/nar.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>

namespace sky {
namespace {

constexpr std::size_t kChunk = 65536;
constexpr mode_t kFileMode = 0444;
constexpr mode_t kExecutableMode = 0555;
constexpr std::array<timespec, 2> kTimes{timespec{1, 0}, timespec{1, 0}}; // as nix has it

std::size_t read_some(int fd, char* buffer, std::size_t size) {
    for (;;) {
        const ssize_t n = ::read(fd, buffer, size);
        if (n >= 0) {
            return static_cast<std::size_t>(n);
        }
        if (errno != EINTR) {
            const int saved = errno;
            throw SysError(saved, "cannot read", ExitCode::kIo);
        }
    }
}

Fd open_at(int directory, const std::string& name, int flags, mode_t mode = 0) {
    const int fd = ::openat(directory, name.c_str(), flags | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0) {
        fail_errno("cannot open '{}'", printable(name));
    }
    return Fd(fd);
}

std::vector<std::string> sorted_names(const Fd& directory) {
    Fd copy(::fcntl(directory.get(), F_DUPFD_CLOEXEC, 3));
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(copy.get()), ::closedir);
    if (!stream) {
        fail_errno("cannot read a directory");
    }
    static_cast<void>(copy.release()); // the stream's now
    std::vector<std::string> names;
    for (;;) {
        errno = 0;
        const dirent* entry = ::readdir(stream.get());
        if (entry == nullptr) {
            break;
        }
        const std::string name(static_cast<const char*>(entry->d_name));
        if (name != "." && name != "..") {
            names.push_back(name);
        }
    }
    if (errno != 0) {
        fail_errno("cannot read a directory");
    }
    std::sort(names.begin(), names.end());
    return names;
}

class Dumper {
  public:
    explicit Dumper(const Sink& sink) : writer_(sink) {}

    void run(int directory, const std::string& name) {
        node(directory, name, 0);
        writer_.finish();
    }

  private:
    void node(int parent, const std::string& name, std::size_t depth) {
        struct stat info {};
        if (::fstatat(parent, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
            fail_errno("cannot stat '{}'", printable(name));
        }
        if (S_ISLNK(info.st_mode)) {
            writer_.symlink(target(parent, name));
        } else if (S_ISREG(info.st_mode)) {
            file(open_at(parent, name, O_RDONLY | O_NONBLOCK | O_NOCTTY), name);
        } else if (S_ISDIR(info.st_mode)) {
            directory(open_at(parent, name, O_RDONLY | O_DIRECTORY), depth + 1);
        } else {
            fail(ExitCode::kData, "'{}' is neither file, directory nor link", printable(name));
        }
    }

    static std::string target(int parent, const std::string& name) {
        std::array<char, 4097> buffer{};
        const ssize_t n = ::readlinkat(parent, name.c_str(), buffer.data(), buffer.size());
        if (n < 0) {
            fail_errno("cannot read link '{}'", printable(name));
        }
        return {buffer.data(), static_cast<std::size_t>(n)};
    }

    void file(const Fd& fd, const std::string& name) {
        struct stat info {};
        if (::fstat(fd.get(), &info) != 0) {
            fail_errno("cannot stat '{}'", printable(name));
        }
        if (!S_ISREG(info.st_mode)) {
            fail(ExitCode::kData, "'{}' changed while it was read", printable(name));
        }
        const auto size = static_cast<std::uint64_t>(info.st_size);
        writer_.file_begin((info.st_mode & S_IXUSR) != 0, size);
        for (auto left = size; left > 0;) {
            const auto want =
                static_cast<std::size_t>(std::min<std::uint64_t>(left, buffer_.size()));
            const auto n = read_some(fd.get(), buffer_.data(), want);
            if (n == 0) {
                fail(ExitCode::kData, "'{}' changed while it was read", printable(name));
            }
            writer_.file_data({buffer_.data(), n});
            left -= n;
        }
        writer_.file_end();
    }

    void directory(const Fd& fd, std::size_t depth) {
        if (depth > NarLimits{}.depth) {
            fail(ExitCode::kData, "directories nested deeper than {}", NarLimits{}.depth);
        }
        writer_.directory_begin();
        for (const auto& name : sorted_names(fd)) {
            writer_.entry(name);
            node(fd.get(), name, depth);
        }
        writer_.directory_end();
    }

    NarWriter writer_;
    std::vector<char> buffer_ = std::vector<char>(kChunk);
};

class Restorer : public NarVisitor {
  public:
    Restorer(int top, std::string name) : top_(top), name_(std::move(name)) {}

    void directory_begin() override {
        const int parent = here();
        if (::mkdirat(parent, name_.c_str(), S_IRWXU) != 0) {
            fail_errno("cannot make directory '{}'", printable(name_));
        }
        open_.push_back(open_at(parent, name_, O_RDONLY | O_DIRECTORY));
    }

    void entry(std::string_view name) override { name_ = name; }

    void directory_end() override {
        seal(open_.back(), kExecutableMode);
        open_.pop_back();
    }

    void file_begin(bool executable, std::uint64_t /*size*/) override {
        file_ = open_at(here(), name_, O_WRONLY | O_CREAT | O_EXCL, S_IRUSR | S_IWUSR);
        mode_ = executable ? kExecutableMode : kFileMode;
    }

    void file_data(std::string_view data) override { write_all(file_.get(), data); }

    void file_end() override {
        seal(file_, mode_);
        file_.reset();
    }

    void symlink(std::string_view target) override {
        const std::string to(target);
        if (::symlinkat(to.c_str(), here(), name_.c_str()) != 0) {
            fail_errno("cannot make link '{}'", printable(name_));
        }
        if (::utimensat(here(), name_.c_str(), kTimes.data(), AT_SYMLINK_NOFOLLOW) != 0) {
            fail_errno("cannot set the time of '{}'", printable(name_));
        }
    }

  private:
    [[nodiscard]] int here() const noexcept { return open_.empty() ? top_ : open_.back().get(); }

    static void seal(const Fd& fd, mode_t mode) {
        if (::fchmod(fd.get(), mode) != 0 || ::futimens(fd.get(), kTimes.data()) != 0) {
            fail_errno("cannot set mode and time of an unpacked file");
        }
    }

    int top_;
    std::string name_;
    std::vector<Fd> open_;
    Fd file_;
    mode_t mode_ = kFileMode;
};

} // namespace

Source fd_source(int fd) {
    return [fd](char* buffer, std::size_t size) { return read_some(fd, buffer, size); };
}

Sink fd_sink(int fd) {
    return [fd](std::string_view data) { write_all(fd, data); };
}

void nar_dump(const std::filesystem::path& path, const Sink& sink) {
    auto whole = path;
    if (!whole.has_filename()) {
        whole = whole.parent_path(); // "dir/"
    }
    const auto parent = whole.has_parent_path() ? whole.parent_path() : std::filesystem::path(".");
    Dumper(sink).run(open_file(parent, O_PATH | O_DIRECTORY).get(), whole.filename().string());
}

void nar_restore(const Source& source, int directory, const std::string& name,
                 const NarLimits& limits) {
    if (!nar_name_valid(name)) {
        fail(ExitCode::kBug, "'{}' is no file name", printable(name));
    }
    Restorer restorer(directory, name);
    nar_parse(source, restorer, limits);
}

} // namespace sky
