// SPDX-License-Identifier: MIT
#pragma once

#include <sky/fd.hpp>

#include <filesystem>
#include <optional>
#include <string>

namespace sky::build {

/// A cell is a cache that no power cut may spoil: nix registers a path before its bytes are on the
/// disk. While sessions use a cell they hold this note, CELL/unsynced, with the boot's id in it; it
/// is emptied once all is synced. Who finds the note of another boot throws the store away.
class Unsynced {
  public:
    /// `boot` is the id of this boot. Waits while another session throws the store away. Throws
    /// SysError.
    Unsynced(std::filesystem::path cell, const std::string& boot);
    ~Unsynced();
    Unsynced(const Unsynced&) = delete;
    Unsynced& operator=(const Unsynced&) = delete;

  private:
    std::filesystem::path cell_;
    Fd note_;
    std::optional<std::filesystem::file_time_type> registered_; ///< when nix last did
};

/// As the kernel says it.
[[nodiscard]] std::string boot_id();

} // namespace sky::build
