// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <utility>

namespace sky {

/// Owns a file descriptor. Move-only; closes without retry (close(2) on Linux has released it even
/// on EINTR).
class [[nodiscard]] Fd {
  public:
    Fd() noexcept = default;
    explicit Fd(int fd) noexcept : fd_(fd) {}
    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd& operator=(Fd&& other) noexcept;
    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;
    ~Fd() { reset(); }

    [[nodiscard]] int get() const noexcept { return fd_; }
    [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
    void reset() noexcept;
    explicit operator bool() const noexcept { return fd_ >= 0; }

  private:
    int fd_ = -1;
};

struct Pipe {
    Fd read;
    Fd write;
};

/// pipe2(O_CLOEXEC). Throws SysError.
[[nodiscard]] Pipe make_pipe();

/// open(2) with O_CLOEXEC added. Throws SysError "cannot open 'PATH'".
Fd open_file(const std::filesystem::path& path, int flags, mode_t mode = 0);

/// openat2(2) beneath `directory` with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS: for trees that
/// somebody else can write. Throws SysError; ELOOP and EXDEV mean that the name left the directory.
Fd open_beneath(int directory, const std::filesystem::path& name, int flags, mode_t mode = 0);

/// Reads to the end of `fd`, at most `cap` bytes; more is Error(kData) naming `what`. Throws
/// SysError.
[[nodiscard]] std::string read_all(int fd, std::size_t cap, std::string_view what);

/// Reads a regular file of at most `cap` bytes. Throws SysError, Error(kData).
[[nodiscard]] std::string read_file(const std::filesystem::path& path, std::size_t cap);

/// As read_file, or nothing when the file is not there.
[[nodiscard]] std::optional<std::string> read_file_if_exists(const std::filesystem::path& path,
                                                             std::size_t cap);

/// Writes all of `data`, through EINTR and short writes. Throws SysError (EPIPE too: SIGPIPE is
/// ignored).
void write_all(int fd, std::string_view data);

struct WriteOptions {
    mode_t mode = 0600;
    std::optional<uid_t> uid = std::nullopt;
    std::optional<gid_t> gid = std::nullopt;
    bool durable = true; ///< fsync file and directory: it survives a power cut
};

/// Writes `path` whole or not at all, through `.NAME.tmp` beside it (lock, fsync, rename). Throws
/// SysError. The directory must be writable by us and by nobody we do not trust.
void atomic_write(const std::filesystem::path& path, std::string_view data,
                  const WriteOptions& options = {});

/// mkdir -p with mode for each directory it makes (not affected by umask). Throws SysError.
void make_directories(const std::filesystem::path& path, mode_t mode);

} // namespace sky
