// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/driver.hpp>

namespace sky::vm {

/// Files NAME.img in a directory of a filesystem that this host has mounted.
class DirectoryDriver final : public VolumeDriver {
  public:
    DirectoryDriver(const Config& config, const VolumeClass& of, std::filesystem::path directory)
        : config_(config), of_(of), directory_(std::move(directory)) {}

    [[nodiscard]] std::string blockdev(const Spec::Disk& disk, const std::string& node,
                                       bool flushes) const override;
    [[nodiscard]] View view(const Spec::Disk& disk) const override;
    [[nodiscard]] std::vector<StorageFile> files() const override { return {}; }
    [[nodiscard]] bool network() const noexcept override { return false; }

    void check(std::uint64_t make_mib) const override;
    [[nodiscard]] std::optional<std::uint64_t> size(const Volume& name) const override;
    void make(const Volume& name, std::uint64_t mib) const override;
    void grow(const Volume& name, std::uint64_t mib) const override;
    void fence(const std::vector<Volume>& names, const Former& former) const override;
    void hand_over(const Volume& name, uid_t opener) const override;
    [[nodiscard]] std::vector<std::string> clients(const std::vector<Volume>& names) const override;
    void settle() const override;
    void take_back() const override;
    void snapshot(const Volume& name, const Volume& as) const override;
    void restore(const Volume& name, const Volume& from) const override;
    void export_to(const Volume& name, int out) const override;
    std::uint64_t import_from(const Volume& name, int in) const override;
    void remove(const Volume& name) const override;

  private:
    void remove_snapshots(const Volume& name) const;
    [[nodiscard]] std::filesystem::path snapshot_of(const Volume& name, const Volume& as) const {
        return directory_ / (name.str() + "." + as.str() + ".snap"); // names have no dots
    }
    [[nodiscard]] std::filesystem::path file_of(const Volume& name) const {
        return directory_ / (name.str() + ".img");
    }

    const Config& config_;
    const VolumeClass& of_;
    std::filesystem::path directory_;
};

} // namespace sky::vm
