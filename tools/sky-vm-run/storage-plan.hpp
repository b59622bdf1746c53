// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/driver.hpp>
#include <sky-vm-run/view.hpp>
#include <sky/config.hpp>
#include <sky/spec.hpp>

#include <filesystem>
#include <string>
#include <vector>

namespace sky::vm {

/// A volume that the storage process opens and shows to the sandbox as a file, by FUSE.
struct StorageVolume {
    std::string file; ///< NAME.img
    bool read_only = false;
    bool locked = false;  ///< its storage has a lock to take before anything is written
    std::string node;     ///< its name in the process
    std::string blockdev; ///< JSON
};

/// What a machine's storage process opens, and what its view holds for it.
struct StoragePlan {
    std::vector<StorageVolume> volumes; ///< empty: no process is needed
    View view;
    std::vector<StorageFile> files; ///< of which it has copies in /sky/etc
    bool network = false;           ///< it reaches its storage over the host's network
};

/// Pure.
[[nodiscard]] StoragePlan plan_storage(const Config& config, const Spec& spec);

/// The host's files for the process: no links.
struct StoragePrograms {
    std::filesystem::path daemon;     ///< qemu-storage-daemon
    std::filesystem::path fusermount; ///< sky-fusermount
    std::filesystem::path copies;     ///< directory of the files that the plan names
};

/// The process's whole view: the programs and their roots, nothing of /usr/bin, what the plan says,
/// and for each volume a file /sky/fuse/FD, where it believes to mount. Nothing in it is writable
/// but volumes. `devices[i]` is the number of the FUSE descriptor of volume i. Pure.
[[nodiscard]] View plan_storage_view(const Config& config, const StoragePlan& plan,
                                     const StoragePrograms& programs,
                                     const std::vector<int>& devices);

/// Its command line. Pure.
[[nodiscard]] std::vector<std::string> storage_arguments(const StoragePlan& plan,
                                                         const std::vector<int>& devices);

} // namespace sky::vm
