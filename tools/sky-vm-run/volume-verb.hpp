// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>
#include <sky/name.hpp>

#include <cstdint>
#include <string>

namespace sky::vm {

/// What `sky-vm-run volume` is asked for, of one volume.
struct VolumeOrder {
    std::string verb; ///< snapshot, restore, export, import, grow, rm
    std::string machine;
    std::string name;
    std::string snapshot{};
    std::uint64_t size_mib = 0;
};

/// Lines for people, or JSON with `json`, of the volumes that the registry knows, those of deleted
/// branches among them; of one machine if it is not empty.
int volume_list_verb(const Config& config, const std::string& machine, bool json, int out);

/// Error(kBusy) while the machine lives here, is supervised here, or is another host's by its owner
/// record; Error(kRefused) for a volume that the registry does not know.
int volume_verb(const Config& config, const VolumeOrder& order, int in, int out);

} // namespace sky::vm
