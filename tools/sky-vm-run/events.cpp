// SPDX-License-Identifier: MIT
#include <sky-vm-run/events.hpp>

#include <sky/error.hpp>

#include <array>
#include <csignal>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace sky::vm {
namespace {

Fd watch_signals() {
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : {SIGTERM, SIGINT, SIGCHLD}) {
        sigaddset(&set, signal);
    }
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    Fd fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!fd) {
        fail_errno("cannot watch signals");
    }
    return fd;
}

} // namespace

Fd watch_directory(const std::filesystem::path& directory) {
    Fd fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (!fd || ::inotify_add_watch(fd.get(), directory.c_str(), IN_MOVED_TO | IN_ONLYDIR) < 0) {
        fail_errno("cannot watch '{}'", directory.string());
    }
    return fd;
}

void forget_changes(int fd) noexcept {
    alignas(inotify_event) std::array<char, 4096> buffer{};
    while (::read(fd, buffer.data(), buffer.size()) > 0) {
    }
}

Events::Events(const std::filesystem::path& directory)
    : signals_(watch_signals()), changes_(watch_directory(directory)) {}

bool Events::wait(int fd, std::chrono::milliseconds limit) {
    std::array<pollfd, 3> entries{
        {{fd, POLLIN, 0}, {signals_.get(), POLLIN, 0}, {changes_.get(), POLLIN, 0}}};
    ::poll(entries.data(), entries.size(), static_cast<int>(limit.count()));
    if (entries[1].revents != 0) {
        signalfd_siginfo info{};
        while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
            terminating_ = terminating_ || info.ssi_signo != SIGCHLD;
        }
    }
    if (entries[2].revents != 0) { // which file it was does not matter: all are read anew
        forget_changes(changes_.get());
    }
    return entries[0].revents != 0;
}

} // namespace sky::vm
