// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/driver.hpp>
#include <sky/registry.hpp>
#include <sky/spec.hpp>
#include <sky/state.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sky::vm {

enum class VolumeStep { kMake, kKeep, kGrow };

/// What to do for a volume: `known` is what the registry says, `file_bytes` how large it is on the
/// storage. A volume is never shrunk. Error(kRefused) for a class that
/// is none of ours, and for a volume that the registry knows and the storage does not have: it is
/// never made anew. Pure.
[[nodiscard]] VolumeStep plan_volume(const Spec::Disk& disk,
                                     const std::optional<Registry::Disk>& known,
                                     std::optional<std::uint64_t> file_bytes);

/// What attach_volumes would refuse, found before anything is stopped for it: a volume that is
/// gone, no room for a new one. Throws Error.
void check_volumes(const Config& config, const Spec& spec, const Registry::Machine& entry);

/// Fences who had the machine's volumes before, makes, grows and hands them over (files
/// STATE/volumes/T/R/M/NAME.img, 0600, of `uid`, or of its storage process's uid where the class
/// has one), and tells the registry. A volume is made whole or not at all. The file system on it
/// grows in the guest: root reads nothing that a guest wrote. Nothing of the machine may live here.
/// Throws Error.
void attach_volumes(const Config& config, const Spec& spec, uid_t uid, const Former& former);

/// Who has the machine's fenced volumes open, for its owner record; nothing: it has none. Throws
/// Error.
[[nodiscard]] std::optional<std::vector<std::string>> volume_clients(const Config& config,
                                                                     const Spec& spec);

/// Writes back what this host's memory still has of the machine's leased volumes: the next host
/// reads the storage. Nothing of the machine may live. Throws SysError.
void settle_volumes(const Config& config, const MachinePath& path);

/// Gives the files of a machine of which nothing lives to root: its uid will be another's. The next
/// attach_volumes hands them over again. Throws SysError.
void take_back_volumes(const Config& config, const MachinePath& path);

} // namespace sky::vm
