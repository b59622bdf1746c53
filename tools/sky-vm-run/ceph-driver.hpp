// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/ceph.hpp>
#include <sky-vm-run/driver.hpp>

#include <future>

namespace sky::vm {

/// RBD images T.R.M.NAME in a pool.
class CephDriver final : public VolumeDriver {
  public:
    CephDriver(const Config& config, std::string storage_class, MachinePath machine);

    [[nodiscard]] std::string blockdev(const Spec::Disk& disk, const std::string& node,
                                       bool flushes) const override;
    [[nodiscard]] View view(const Spec::Disk& /*disk*/) const override { return {}; }
    [[nodiscard]] std::vector<StorageFile> files() const override;
    [[nodiscard]] bool network() const noexcept override { return true; }

    void check(std::uint64_t make_mib) const override;
    [[nodiscard]] std::optional<std::uint64_t> size(const Volume& name) const override;
    void make(const Volume& name, std::uint64_t mib) const override;
    void grow(const Volume& name, std::uint64_t mib) const override;
    void fence(const std::vector<Volume>& names, const Former& former) const override;
    void hand_over(const Volume& /*name*/, uid_t /*opener*/) const override {}
    [[nodiscard]] std::vector<std::string> clients(const std::vector<Volume>& names) const override;
    void settle() const override {}
    void take_back() const override {}
    void snapshot(const Volume& name, const Volume& as) const override;
    void restore(const Volume& name, const Volume& from) const override;
    void export_to(const Volume& name, int out) const override;
    std::uint64_t import_from(const Volume& name, int in) const override;
    void remove(const Volume& name) const override;

  private:
    [[nodiscard]] std::vector<ImageUse> cut_off(const std::vector<Volume>& names,
                                                const Former& former) const;
    [[nodiscard]] std::vector<ImageUse> uses(const std::vector<Volume>& names) const;
    void check_marker() const;
    [[nodiscard]] std::string image_of(const Volume& name) const;

    const Config& config_;
    std::string class_;
    const VolumeClass& of_;
    MachinePath machine_;
    CephPool pool_;
    /// Asked once, as a driver lives for one step; a refusal, too, is for all who wait for it.
    std::shared_future<void> marked_ =
        std::async(std::launch::deferred, [this] { pool_.check_marker(); }).share();
};

} // namespace sky::vm
