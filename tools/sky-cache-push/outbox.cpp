// SPDX-License-Identifier: MIT
#include "outbox.hpp"

#include <sky/error.hpp>

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>

namespace sky::cache {

Outbox::Outbox(const State& state, const Tenant& tenant, const BuildId& build, uid_t owner)
    : owner_(owner) {
    // outbox/ lies in a directory of root's, so it is what it seems; everything below is the
    // tenant's.
    const Fd outbox = open_file(state.outbox(tenant), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    try {
        directory_ = open_beneath(outbox.get(), build.str(), O_RDONLY | O_DIRECTORY);
    } catch (const SysError& e) {
        if (e.errno_value() == ELOOP || e.errno_value() == ENOTDIR) {
            fail(ExitCode::kData, "outbox: the build's directory is none");
        }
        if (e.errno_value() != ENOENT) {
            throw;
        }
    }
}

std::optional<Fd> Outbox::open(const std::string& name) const {
    if (!directory_) {
        return std::nullopt;
    }
    Fd fd;
    try {
        // O_NONBLOCK: opening a fifo would wait for its other end.
        fd = open_beneath(directory_->get(), name, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    } catch (const SysError& e) {
        switch (e.errno_value()) {
        case ENOENT:
            return std::nullopt;
        case ELOOP:
        case EXDEV:
        case ENOTDIR:
        case ENXIO: // a socket
        case EACCES:
            fail(ExitCode::kData, "outbox: a link, or not a regular file");
        default:
            throw;
        }
    }
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) {
        fail_errno("cannot stat a file of the outbox");
    }
    if (!S_ISREG(info.st_mode) || info.st_uid != owner_) {
        fail(ExitCode::kData, "outbox: not a regular file of the tenant's");
    }
    return fd;
}

std::optional<NarInfo> Outbox::find(const StorePath& path) const {
    const auto fd = open(path.hash() + ".narinfo");
    if (!fd) {
        return std::nullopt;
    }
    auto info = parse_narinfo(read_all(fd->get(), kNarInfoCap, "a narinfo"));
    if (info.path != path || info.compressed || info.signature) {
        fail(ExitCode::kData, "outbox: narinfo of another path or form");
    }
    return info;
}

Fd Outbox::open_nar(const NarInfo& info) const {
    auto fd = open(info.url());
    if (!fd) {
        fail(ExitCode::kData, "outbox: a NAR is missing");
    }
    return std::move(*fd);
}

} // namespace sky::cache
