// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/files.hpp>
#include <sky-vm-run/vm.hpp>

#include <filesystem>
#include <sys/types.h>

namespace sky::vm {

/// Starts the machine's storage process, qemu-storage-daemon under the fourth of its uids, without
/// capabilities, in a view of its own, and mounts what it shows in vm/T.R.M/disks, of this
/// process's own mount namespace alone, where the sandbox's view takes it from. To be called by the
/// first process of the sandbox while it is root: so the kernel ends the storage process with the
/// sandbox. Returns its pid once all volumes are open, or 0 when the machine has none of a class
/// that needs it. The process itself mounts nothing: it is handed the FUSE descriptors of mounts
/// that stand. `network`: a descriptor of the host's network namespace, where it lives if its
/// storage is reached so. Throws Error with what it said.
pid_t start_storage(const Vm& vm, const Running& running, int network);

/// Throws Error(kConfig) unless this host can run a storage process.
void need_storage_process(const Config& config);

/// Throws Error(kConfig) when the filesystem of `path`, a file or a directory, would take writes
/// into the host's memory although asked not to (O_DIRECT).
void need_direct(const std::filesystem::path& path);

} // namespace sky::vm
