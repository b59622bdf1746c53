// SPDX-License-Identifier: MIT
#include <sky-vm-run/store-files.hpp>

#include <sky/error.hpp>

#include <array>
#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <random>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace sky::vm {

Fd directory_in(int parent, const char* name) {
    if (::mkdirat(parent, name, S_IRWXU) != 0 && errno != EEXIST) {
        fail_errno("cannot make directory '{}'", name);
    }
    return open_beneath(parent, name, O_RDONLY | O_DIRECTORY);
}

std::string random_name() {
    std::random_device random;
    return fmt::format("{:08x}{:08x}", random(), random());
}

std::string mark_of(int marks, const std::string& name) {
    std::array<char, 128> text{};
    const ssize_t n = ::readlinkat(marks, name.c_str(), text.data(), text.size());
    if (n < 0 && errno != ENOENT) {
        fail_errno("cannot read the mark of '{}'", name);
    }
    return n < 0 ? std::string() : std::string(text.data(), static_cast<std::size_t>(n));
}

void remove_tree(int directory, const std::string& name, std::size_t depth) noexcept {
    if (::unlinkat(directory, name.c_str(), 0) == 0 || (errno != EISDIR && errno != EPERM) ||
        depth > 256) {
        return;
    }
    const int fd =
        ::openat(directory, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    ::fchmod(fd, S_IRWXU);
    DIR* stream = ::fdopendir(fd);
    if (stream == nullptr) {
        ::close(fd);
        return;
    }
    for (const dirent* entry = ::readdir(stream); entry != nullptr; entry = ::readdir(stream)) {
        const std::string child(static_cast<const char*>(entry->d_name));
        if (child != "." && child != "..") {
            remove_tree(::dirfd(stream), child, depth + 1);
        }
    }
    ::closedir(stream);
    ::unlinkat(directory, name.c_str(), AT_REMOVEDIR);
}

DirectoryLock::DirectoryLock(int fd) : fd_(fd) {
    while (::flock(fd_, LOCK_EX) != 0) {
        if (errno != EINTR) {
            fail_errno("cannot lock the store");
        }
    }
}

DirectoryLock::~DirectoryLock() {
    ::flock(fd_, LOCK_UN);
}

std::vector<std::string> names_in(int directory) {
    Fd copy = open_beneath(directory, ".", O_RDONLY | O_DIRECTORY);
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(copy.get()), ::closedir);
    if (!stream) {
        fail_errno("cannot read a directory of the store");
    }
    static_cast<void>(copy.release());
    std::vector<std::string> names;
    for (const dirent* e = ::readdir(stream.get()); e != nullptr; e = ::readdir(stream.get())) {
        if (e->d_name[0] != '.') {
            names.emplace_back(static_cast<const char*>(e->d_name));
        }
    }
    return names;
}

Incoming::Incoming(int store) : parent_(directory_in(store, kIncoming)), name_(random_name()) {
    const DirectoryLock lock(parent_.get()); // nobody sweeps between mkdir and flock
    for (const auto& name : names_in(parent_.get())) {
        sweep(name);
    }
    own_ = directory_in(parent_.get(), name_.c_str());
    if (::flock(own_.get(), LOCK_EX | LOCK_NB) != 0) {
        fail_errno("cannot lock '{}'", name_);
    }
}

void Incoming::sweep(const std::string& name) const {
    try {
        const Fd fd = open_beneath(parent_.get(), name, O_RDONLY | O_DIRECTORY);
        if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) {
            remove_tree(parent_.get(), name);
        }
    } catch (const SysError& e) {
        if (e.errno_value() != ENOENT) { // its owner has just removed it
            throw;
        }
    }
}

} // namespace sky::vm
