// SPDX-License-Identifier: MIT
#include <sky-vm-run/lookout.hpp>

#include <sky/error.hpp>
#include <sky/lines.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <ctime>
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

std::int64_t now() noexcept {
    timespec time{};
    ::clock_gettime(CLOCK_BOOTTIME, &time);
    return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

/// Always as many digits, over those before. A disk that takes it not is somebody else's to tell.
void write_time(int fd) noexcept {
    std::array<char, 20> text{};
    text.fill('0');
    std::array<char, 20> digits{};
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), now()).ptr;
    std::copy_backward(digits.data(), end, text.data() + text.size());
    [[maybe_unused]] const auto ignored = ::pwrite(fd, text.data(), text.size(), 0);
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

std::optional<std::chrono::nanoseconds> silence(const std::filesystem::path& answered) {
    const auto text = read_file_if_exists(answered, 64).value_or("");
    std::int64_t last = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), last).ec != std::errc{}) {
        return std::nullopt;
    }
    return std::chrono::nanoseconds(now() - last);
}

pid_t start_lookout(const std::vector<Fd>& volumes, const Fd& answered) {
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
        write_time(answered.get());
        for (const auto& volume : volumes) {
            if (cut_off(volume)) {
                ::_exit(ESHUTDOWN);
            }
        }
        ::sleep(kEvery);
    }
}

} // namespace sky::vm
