// SPDX-License-Identifier: MIT
#include <sky-vm-run/runner.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/log.hpp>
#include <sky/process.hpp>

#include <algorithm>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace sky::vm {
namespace {

constexpr int kExecFailed = 127;

} // namespace

std::vector<gid_t> runner_groups() {
    struct stat info {};
    const bool there = ::stat("/dev/kvm", &info) == 0 && S_ISCHR(info.st_mode);
    return there && info.st_gid != 0 ? std::vector<gid_t>{info.st_gid} : std::vector<gid_t>{};
}

std::uint64_t largest_file(const Spec& spec) {
    std::uint64_t mib = spec.mem_mib;
    for (const auto& disk : spec.volumes) {
        mib = std::max(mib, disk.size_mib);
    }
    return (mib + 64) << 20U;
}

void start_runner(const Runner& runner, int console) noexcept {
    try {
        const Fd null = open_file("/dev/null", O_RDONLY);
        ::dup2(null.get(), 0);
        ::dup2(console, 1);
        ::dup2(console, 2);
        ::close_range(3, ~0U, 0);
        become(runner.identity);
        ::setsid();
        ::umask(0077);
        if (::chdir("/sky/run") != 0) {
            fail_errno("cannot enter '/sky/run'");
        }
        Command(runner.program).clear_env().exec();
    } catch (const std::exception& e) {
        log::error("{}", e.what());
        ::_exit(kExecFailed);
    }
}

} // namespace sky::vm
