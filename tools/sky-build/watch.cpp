// SPDX-License-Identifier: MIT
#include <sky-build/watch.hpp>

#include <sky/error.hpp>
#include <sky/exit.hpp>
#include <sky/log.hpp>
#include <sky/name.hpp>

#include <array>
#include <csignal>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace sky::build {

Watch::Watch(Cancel& cancel) : cancel_(&cancel), done_(::eventfd(0, EFD_CLOEXEC)) {
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
        sigaddset(&set, signal);
    }
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
    signals_ = Fd(::signalfd(-1, &set, SFD_CLOEXEC));
    if (!signals_ || !done_) {
        fail_errno("cannot wait for signals");
    }
}

void Watch::done() noexcept {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(done_.get(), &one, sizeof one);
}

std::optional<int> Watch::wait() {
    std::optional<int> code;
    for (;;) {
        // A reader that goes shows as POLLERR, which needs no asking; once is enough.
        std::array<pollfd, 3> entries{{{done_.get(), POLLIN, 0},
                                       {code ? -1 : signals_.get(), POLLIN, 0},
                                       {code ? -1 : STDOUT_FILENO, 0, 0}}};
        if (::poll(entries.data(), entries.size(), -1) < 0) {
            continue;
        }
        if (entries[1].revents != 0) {
            signalfd_siginfo info{};
            if (::read(signals_.get(), &info, sizeof info) == sizeof info) {
                code = 128 + static_cast<int>(info.ssi_signo);
            }
        } else if ((entries[2].revents & (POLLERR | POLLHUP | POLLNVAL)) != 0) {
            log::debug("nobody reads stdout any more");
            code = static_cast<int>(ExitCode::kIo);
        }
        if (code) {
            cancel_->set();
        }
        if (entries[0].revents != 0) {
            return code;
        }
    }
}

std::vector<std::string> names_advice(const std::vector<std::string>& names) {
    std::string list;
    std::string first;
    std::size_t shown = 0;
    for (const std::string& name : names) {
        if (!Machine::valid(name)) {
            continue;
        }
        if (++shown > 12) {
            list += ", ...";
            break;
        }
        first = first.empty() ? name : first;
        list += (list.empty() ? "" : ", ") + name;
    }
    if (first.empty()) {
        return {"       the flake has no nixosConfigurations that can be a machine",
                "       (names: a-z, 0-9 and -, at most 40, a letter first)"};
    }
    return {"       machines in this flake: " + list,
            "       this would work: git push <remote> HEAD:" + first};
}

} // namespace sky::build
