// SPDX-License-Identifier: MIT
#include <sky-vm-run/driver.hpp>

#include <sky-vm-run/ceph-driver.hpp>
#include <sky-vm-run/directory-driver.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/process.hpp>
#include <sky/state.hpp>

#include <chrono>
#include <fcntl.h>
#include <unistd.h>

namespace sky::vm {
namespace {

constexpr std::size_t kLabelMost = 16; // ext4's

} // namespace

bool by_process(const VolumeClass& of) noexcept {
    switch (of.kind) {
    case VolumeClass::Kind::kLocal:
        return false;
    case VolumeClass::Kind::kLeased:
    case VolumeClass::Kind::kFenced:
        return true;
    }
    return true;
}

std::unique_ptr<VolumeDriver> driver_of(const Config& config, const std::string& storage_class,
                                        const MachinePath& machine) {
    const auto& of = config.volumes.classes.at(storage_class);
    switch (of.driver) {
    case VolumeClass::Driver::kDirectory:
        return std::make_unique<DirectoryDriver>(config, of,
                                                 State(config).volumes(machine, of.kind));
    case VolumeClass::Driver::kCeph:
        return std::make_unique<CephDriver>(config, storage_class, machine);
    }
    return nullptr;
}

void make_image(const Config& config, const std::filesystem::path& file, const Volume& name,
                std::uint64_t mib) {
    const Fd fd = open_file(file, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    try {
        if (::ftruncate(fd.get(), static_cast<off_t>(mib << 20U)) != 0) {
            fail_errno("cannot set the size of '{}'", file.string());
        }
        const auto made =
            Command(config.programs.mkfs_ext4)
                .args({"-q", "-F", "-L", name.str().substr(0, kLabelMost), "--", file.string()})
                .capture("", 1U << 20U, std::chrono::minutes(10), true);
        if (made.exit_code != 0) {
            fail(ExitCode::kSystem, "cannot format volume '{}': mkfs.ext4 ended with {}: {}",
                 name.str(), made.exit_code, printable(made.err, 200));
        }
        if (::fsync(fd.get()) != 0) {
            fail_errno("cannot sync '{}'", file.string());
        }
    } catch (...) {
        ::unlink(file.c_str());
        throw;
    }
}

} // namespace sky::vm
