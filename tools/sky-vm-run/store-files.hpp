// SPDX-License-Identifier: MIT
#pragma once

#include <sky/fd.hpp>

#include <string>
#include <vector>

// What fetching into a tenant's store and sweeping it have in common; all of it is root's.
namespace sky::vm {

inline constexpr const char* kIncoming = ".incoming"; ///< .incoming/RANDOM/HASH-NAME: not whole yet
inline constexpr const char* kMarks = ".ok"; ///< .ok/HASH-NAME -> NARHASH: whole, and this it is
inline constexpr const char* kReplaced = ".replaced"; ///< what a running machine may still use

/// The directory `name` in `parent`, made if need be. Throws SysError.
[[nodiscard]] Fd directory_in(int parent, const char* name);

[[nodiscard]] std::string random_name();

/// The NAR hash that the mark of `name` tells, or nothing if `name` is not known to be whole.
[[nodiscard]] std::string mark_of(int marks, const std::string& name);

/// Removes a tree of our own, relative to a descriptor. Best effort: what stays is swept by the
/// next fetch.
void remove_tree(int directory, const std::string& name, std::size_t depth = 0) noexcept;

/// Names in a directory that do not begin with a dot. Throws SysError.
[[nodiscard]] std::vector<std::string> names_in(int directory);

/// An flock(2) on a directory, for short changes in it. `fd` must outlive it.
class DirectoryLock {
  public:
    explicit DirectoryLock(int fd);
    DirectoryLock(const DirectoryLock&) = delete;
    DirectoryLock& operator=(const DirectoryLock&) = delete;
    ~DirectoryLock();

  private:
    int fd_;
};

/// A directory of this process's own below store/T/.incoming; an flock on it says that it lives.
/// Removed at the end, and by whoever comes next if this process dies.
class Incoming {
  public:
    explicit Incoming(int store);
    Incoming(const Incoming&) = delete;
    Incoming& operator=(const Incoming&) = delete;
    ~Incoming() { remove_tree(parent_.get(), name_); }

    [[nodiscard]] int fd() const noexcept { return own_.get(); }

  private:
    void sweep(const std::string& name) const;

    Fd parent_;
    Fd own_;
    std::string name_;
};

} // namespace sky::vm
