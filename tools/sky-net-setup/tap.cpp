// SPDX-License-Identifier: MIT
#include <sky-net-setup/tap.hpp>

#include <sky-net-setup/link.hpp>
#include <sky/error.hpp>

#include <cerrno>
#include <cstring>
#include <exception>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

namespace sky::net {
namespace {

struct stat status_of(const Fd& fd) {
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0) {
        fail_errno("cannot stat a network namespace");
    }
    return status;
}

/// TUNSETIFF; errno, or 0.
int open_queue(const Fd& tun, const std::string& name, unsigned queues) {
    ifreq request{};
    std::memcpy(request.ifr_name, name.data(), std::min(name.size(), sizeof request.ifr_name - 1));
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    if (queues > 1) {
        request.ifr_flags |= IFF_MULTI_QUEUE;
    }
    return ::ioctl(tun.get(), TUNSETIFF, &request) == 0 ? 0 : errno;
}

} // namespace

Fd own_netns() {
    return open_file("/proc/thread-self/ns/net", O_RDONLY);
}

Fd open_netns(pid_t pid) {
    Fd fd = open_file("/proc/" + std::to_string(pid) + "/ns/net", O_RDONLY);
    if (::ioctl(fd.get(), NS_GET_NSTYPE) != CLONE_NEWNET) {
        fail(ExitCode::kRefused, "netns: '/proc/{}/ns/net' is no network namespace", pid);
    }
    const struct stat theirs = status_of(fd);
    const struct stat ours = status_of(own_netns());
    if (theirs.st_ino == ours.st_ino && theirs.st_dev == ours.st_dev) {
        fail(ExitCode::kRefused, "netns: process {} is in the host's network namespace", pid);
    }
    return fd;
}

InNetns::InNetns(const Fd& netns) : home_(own_netns()) {
    if (::setns(netns.get(), CLONE_NEWNET) != 0) {
        fail_errno("cannot enter the machine's network namespace");
    }
}

InNetns::~InNetns() {
    if (::setns(home_.get(), CLONE_NEWNET) != 0) {
        std::terminate();
    }
}

void ensure_tap(const std::string& name, uid_t owner, unsigned queues) {
    const Fd tun = open_file("/dev/net/tun", O_RDWR);
    int error = open_queue(tun, name, queues);
    if (error == EINVAL) { // there, with other flags
        Links().remove(name);
        error = open_queue(tun, name, queues);
    }
    if (error == EBUSY) { // the runner has it open already
        return;
    }
    if (error != 0) {
        throw SysError(error, fmt::format("cannot make tap '{}'", name));
    }
    if (::ioctl(tun.get(), TUNSETOWNER, static_cast<unsigned long>(owner)) != 0 ||
        ::ioctl(tun.get(), TUNSETPERSIST, 1UL) != 0) {
        fail_errno("cannot give tap '{}' to uid {}", name, owner);
    }
}

Fd scratch_tap(const std::string& name) {
    Fd tun = open_file("/dev/net/tun", O_RDWR | O_NONBLOCK);
    ifreq request{};
    std::memcpy(request.ifr_name, name.data(), std::min(name.size(), sizeof request.ifr_name - 1));
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    if (::ioctl(tun.get(), TUNSETIFF, &request) != 0) {
        fail_errno("cannot make tap '{}'", name);
    }
    return tun;
}

} // namespace sky::net
