// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/view.hpp>
#include <sky/config.hpp>
#include <sky/spec.hpp>

#include <map>
#include <string>
#include <vector>

namespace sky::vm {

/// A volume that the storage process opens and shows to the sandbox as a file, by FUSE.
struct StorageVolume {
    std::string file; ///< NAME.img
    bool read_only = false;
    std::string node;     ///< its name in the process
    std::string blockdev; ///< JSON
};

/// What a machine's storage process opens, and what its view holds for it.
struct StoragePlan {
    std::vector<StorageVolume> volumes; ///< empty: no process is needed
    View view;
    bool network = false; ///< it reaches its storage over the host's network
};

/// `directories`: where the machine's files of each class lie. Pure.
[[nodiscard]] StoragePlan
plan_storage(const Config& config, const Spec& spec,
             const std::map<std::string, std::filesystem::path>& directories);

/// The host's files for the process: no links.
struct StoragePrograms {
    std::filesystem::path daemon;     ///< qemu-storage-daemon
    std::filesystem::path fusermount; ///< sky-fusermount
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
