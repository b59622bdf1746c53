// SPDX-License-Identifier: MIT
#pragma once

#include <sky/fd.hpp>

#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

namespace sky {

/// An exclusive flock(2) on a file, held while this lives; the kernel drops it with the holder. The
/// file stays, with a line about who holds it, unless its holder remove()s it.
class [[nodiscard]] Lock {
  public:
    /// Takes it now, or nothing if somebody has it. `who` is written into the file. Throws
    /// SysError.
    static std::optional<Lock> try_take(const std::filesystem::path& file, std::string_view who);

    /// Waits until `limit`; `waiting` is called once, with the holder's line, when it has to wait.
    /// Error(kBusy) naming the holder after that.
    static Lock take(const std::filesystem::path& file, std::string_view who,
                     std::chrono::milliseconds limit,
                     const std::function<void(const std::string& holder)>& waiting = {});

    /// What the holder wrote, cut to one printable line.
    [[nodiscard]] static std::string holder(const std::filesystem::path& file);

    /// Removes `file`, which must be this lock's: what it guards is no more. Who waits for it makes
    /// it anew.
    void remove(const std::filesystem::path& file) noexcept;

    [[nodiscard]] int fd() const noexcept { return fd_.get(); }

  private:
    explicit Lock(Fd fd) noexcept : fd_(std::move(fd)) {}
    Fd fd_;
};

/// Waits for an flock(2) on a directory, shared or exclusive; it ends with the descriptor. For
/// those who make entries in it (shared, until what they made is locked itself) and who sweeps the
/// dead ones (exclusive). Throws SysError.
[[nodiscard]] Fd hold_directory(const std::filesystem::path& directory, bool exclusive);

} // namespace sky
