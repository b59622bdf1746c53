// SPDX-License-Identifier: MIT
#include <sky-vm-run/lookout.hpp>

#include <sky/error.hpp>

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

namespace sky::vm {
namespace {

constexpr unsigned kEvery = 3; ///< seconds: so long an address may answer twice
constexpr std::size_t kBlock = 4096;

bool cut_off(const Fd& volume) noexcept {
    alignas(kBlock) static std::array<char, kBlock> block;
    // ESHUTDOWN is what Ceph answers to who is blocklisted (EBLOCKLISTED).
    return ::pread(volume.get(), block.data(), block.size(), 0) < 0 && errno == ESHUTDOWN;
}

} // namespace

std::vector<Fd> fenced_volumes(const Vm& vm, const Running& running) {
    std::vector<Fd> out;
    for (const auto& disk : running.spec.volumes) {
        if (vm.config.volumes.classes.at(disk.storage_class).kind == VolumeClass::Kind::kFenced) {
            out.push_back(open_file(vm.files.disks() / (disk.name.str() + ".img"),
                                    O_RDONLY | O_DIRECT | O_NOFOLLOW));
        }
    }
    return out;
}

pid_t start_lookout(const std::vector<Fd>& volumes) {
    if (volumes.empty()) {
        return 0;
    }
    const pid_t pid = ::fork();
    if (pid < 0) {
        fail_errno("cannot start the lookout");
    }
    if (pid > 0) {
        return pid;
    }
    for (;;) {
        for (const auto& volume : volumes) {
            if (cut_off(volume)) {
                ::_exit(ESHUTDOWN);
            }
        }
        ::sleep(kEvery);
    }
}

} // namespace sky::vm
