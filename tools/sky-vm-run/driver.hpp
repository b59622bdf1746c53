// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/view.hpp>
#include <sky/config.hpp>
#include <sky/name.hpp>
#include <sky/spec.hpp>

#include <filesystem>
#include <memory>
#include <string>

namespace sky::vm {

/// How a storage process opens the volumes of a class: one driver per kind of storage, chosen by
/// the class. It says what the process needs; storage.hpp starts it.
class VolumeDriver {
  public:
    virtual ~VolumeDriver() = default;
    /// A block node of qemu-storage-daemon named `node` (QAPI BlockdevOptions, as JSON) for this
    /// volume, as the process's own view shows it. Always raw, never probed, past the page cache:
    /// no write is on its way once the process has ended. Pure.
    [[nodiscard]] virtual std::string blockdev(const Spec::Disk& disk,
                                               const std::string& node) const = 0;
    /// What the process's view holds for it: files, keys. Pure.
    [[nodiscard]] virtual View view(const Spec::Disk& disk) const = 0;
    /// Whether the storage is reached over the host's network.
    [[nodiscard]] virtual bool network() const noexcept = 0;

  protected:
    VolumeDriver() = default;
    VolumeDriver(const VolumeDriver&) = default;
    VolumeDriver& operator=(const VolumeDriver&) = default;
};

/// Whether volumes of the class are opened by a storage process; others are the hypervisor's own
/// files.
[[nodiscard]] bool by_process(const VolumeClass& of) noexcept;

/// The driver of a class by_process() for the machine's volumes, which lie in `directory` where the
/// class keeps files. Pure.
[[nodiscard]] std::unique_ptr<VolumeDriver> driver_of(const VolumeClass& of,
                                                      const std::filesystem::path& directory);

} // namespace sky::vm
