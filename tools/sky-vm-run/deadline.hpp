// SPDX-License-Identifier: MIT
#pragma once

#include <sky/fd.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

namespace sky::vm {

/// CLOCK_BOOTTIME, which goes on while the host sleeps.
[[nodiscard]] std::chrono::nanoseconds boot_clock() noexcept;

/// Until when this host may write to leased volumes, as its own processes see it: a file of
/// STATE/lease.deadline that the lease process and the guards have mapped, so that looking at it
/// can wait for nothing. A file belongs to one boot and one incarnation of the host; the next
/// incarnation gets another, so whoever has an old one mapped is never given more time.
class Deadline {
  public:
    /// Puts a new one there, long past, for an incarnation. Throws SysError.
    [[nodiscard]] static Deadline make(const std::filesystem::path& file,
                                       const std::string& incarnation);
    /// The one that is there, to change it (`writable`) or to look. Nothing when there is none of
    /// this boot. Throws SysError.
    [[nodiscard]] static std::optional<Deadline> open(const std::filesystem::path& file,
                                                      bool writable = false);

    [[nodiscard]] const std::string& incarnation() const noexcept { return incarnation_; }
    /// On boot_clock().
    [[nodiscard]] std::chrono::nanoseconds get() const noexcept;
    void set(std::chrono::nanoseconds deadline) noexcept;
    [[nodiscard]] bool past() const noexcept { return get() <= boot_clock(); }
    /// Keeps it in memory for this process: looking must not wait for a disk. Throws SysError.
    void pin() const;

  private:
    struct Page;
    struct Unmap {
        void operator()(Page* page) const noexcept;
    };
    Deadline(Page* page, std::string incarnation);
    std::unique_ptr<Page, Unmap> page_;
    std::string incarnation_;
};

/// Tells a process that waits for other things, too, when a deadline has passed.
class DeadlineTimer {
  public:
    /// None: it never passes. Throws SysError.
    explicit DeadlineTimer(std::optional<Deadline> deadline);
    /// To poll; -1: none. Readable: look whether it has passed().
    [[nodiscard]] int fd() const noexcept { return timer_.get(); }
    /// If not, it is set to what the deadline is now.
    [[nodiscard]] bool passed() noexcept;

  private:
    std::optional<Deadline> deadline_;
    Fd timer_;
};

/// The incarnation in which this host holds its lease, whose deadline is `file`; nothing: it does
/// not.
[[nodiscard]] std::optional<std::string> held_lease(const std::filesystem::path& file);

/// 32 hex digits that nobody had before.
[[nodiscard]] std::string new_incarnation();

/// This boot of the host: 32 hex digits.
[[nodiscard]] std::string boot_id();

} // namespace sky::vm
