// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/cut-plan.hpp>
#include <sky/config.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sky {
struct Captured;
class Command;
} // namespace sky

namespace sky::vm {

/// A pool of RBD images, asked through Ceph's own programs: each question is a process of its own
/// that ends at a deadline, whatever its threads wait for, and what the log says can be repeated by
/// hand. Refers to configuration and class. Everything throws Error: kUnavailable when Ceph does
/// not answer in time or refuses the key.
class CephPool {
  public:
    CephPool(const Config& config, const VolumeClass& of) : config_(config), of_(of) {}

    /// The id in the pool's marker; nothing: it has none.
    [[nodiscard]] std::optional<std::string> marker() const;
    void set_marker(const std::string& id) const;
    /// Error(kUnavailable) unless the pool carries the configuration's id.
    void check_marker() const;

    /// Error(kIo) while the pool takes no writes because it is full: Ceph's clients then wait.
    void check_room() const;

    /// In bytes; nothing: there is no such image.
    [[nodiscard]] std::optional<std::uint64_t> size(const std::string& image) const;
    /// Makes an image from a file, whole or not at all.
    void import_file(const std::string& image, const std::filesystem::path& file) const;
    void resize(const std::string& image, std::uint64_t mib) const;
    /// With what imports that were cut short left of it. Nothing if it is not there.
    void remove(const std::string& image) const;

    void snapshot(const std::string& image, const std::string& as) const;
    void restore(const std::string& image, const std::string& from) const;
    void export_to(const std::string& image, int out) const;
    /// In the place of what is there, whole or not at all. What a crash leaves is put_back()'s.
    void import_from(const std::string& image, int in) const;
    /// An image that was set aside for one in its place, which never came: it is there again.
    /// False: none was.
    [[nodiscard]] bool put_back(const std::string& image) const;
    [[nodiscard]] ImageUse use(const std::string& image) const;
    /// Blocklists nobody: that was done, and breaking it so would do it anew, for another time.
    void break_lock(const std::string& image, const Locker& locker) const;
    /// Cuts one client off for so long.
    void blocklist(const std::string& address, std::chrono::seconds time) const;

  private:
    [[nodiscard]] Command command(const std::filesystem::path& program) const;
    [[nodiscard]] Captured ask(const Command& command, std::string_view input,
                               std::chrono::seconds limit, std::size_t cap) const;
    [[nodiscard]] Captured rbd(const std::vector<std::string>& args,
                               std::chrono::seconds limit) const;
    /// As rbd(), and Error unless it went well.
    std::string rbd_well(const std::vector<std::string>& args, std::chrono::seconds limit) const;
    [[noreturn]] void failed(const char* what, const Captured& said) const;
    void remove_one(const std::string& image) const;
    [[nodiscard]] std::string in_pool(const std::string& image) const;

    const Config& config_;
    const VolumeClass& of_;
};

/// What `rbd status` and `rbd lock ls` print as JSON. Error(kData) for addresses that are none.
/// Pure.
[[nodiscard]] std::vector<std::string> parse_watchers(std::string_view json);
/// Whether a pool is full or over its quota, in what `ceph osd dump` prints as JSON. Error(kData)
/// where there is no such pool. Pure.
[[nodiscard]] bool parse_full(std::string_view json, std::string_view pool);
[[nodiscard]] std::vector<Locker> parse_lockers(std::string_view json);

} // namespace sky::vm
