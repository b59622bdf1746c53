// SPDX-License-Identifier: MIT
#include <sky-vm-run/console.hpp>

#include <sky-vm-run/files.hpp>

#include <sky/error.hpp>
#include <sky/lines.hpp>
#include <sky/terminal.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <string>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace sky::vm {
namespace {

std::uint64_t size_of(int fd) noexcept {
    struct stat info {};
    return ::fstat(fd, &info) == 0 ? static_cast<std::uint64_t>(info.st_size) : 0;
}

/// All from `at` to the end, at most twice the cap.
std::string read_from(int fd, std::uint64_t at) {
    std::string out;
    std::array<char, 65536> buffer{};
    while (out.size() < 2 * ConsoleLog::kCap) {
        const ssize_t n =
            ::pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(at + out.size()));
        if (n < 0) {
            fail_errno("cannot read the console");
        }
        if (n == 0) {
            break;
        }
        out.append(buffer.data(), static_cast<std::size_t>(n));
    }
    return out;
}

} // namespace

ConsoleLog::ConsoleLog(Fd now, Fd old, std::uint64_t cap)
    : now_(std::move(now)), old_(std::move(old)), cap_(cap), size_(size_of(now_.get())) {}

void ConsoleLog::append(std::string_view text) noexcept {
    while (!text.empty()) {
        if (size_ >= cap_) {
            rotate();
        }
        const auto part = text.substr(0, static_cast<std::size_t>(cap_ - size_));
        const ssize_t n = ::pwrite(now_.get(), part.data(), part.size(), static_cast<off_t>(size_));
        if (n <= 0) {
            if (n < 0 && errno == EINTR) {
                continue;
            }
            return;
        }
        size_ += static_cast<std::uint64_t>(n);
        text.remove_prefix(static_cast<std::size_t>(n));
    }
}

void ConsoleLog::rotate() noexcept {
    std::array<char, 65536> buffer{};
    off_t at = 0;
    for (;;) {
        const ssize_t n = ::pread(now_.get(), buffer.data(), buffer.size(), at);
        if (n <= 0 || ::pwrite(old_.get(), buffer.data(), static_cast<std::size_t>(n), at) != n) {
            break;
        }
        at += n;
    }
    // A reader that follows sees a file shorter than where it stood, and begins anew.
    static_cast<void>(::ftruncate(old_.get(), at) | ::ftruncate(now_.get(), 0));
    size_ = 0;
}

bool NotificationFinder::ends_in(std::string_view text) noexcept {
    bool found = false;
    for (const char c : text) {
        if (c == '\n') {
            found = found || same_ == kNotification.size();
            same_ = 0;
        } else if (c != '\r') { // a terminal's
            const bool fits = same_ < kNotification.size() && c == kNotification[same_];
            same_ = fits ? same_ + 1 : std::string_view::npos;
        }
    }
    return found;
}

std::string_view last_lines(std::string_view text, std::size_t lines) noexcept {
    if (lines == 0) {
        return {};
    }
    std::size_t at = text.size();
    if (at > 0 && text[at - 1] == '\n') {
        --at; // the newline that ends the last line
    }
    for (std::size_t seen = 0; at > 0; --at) {
        if (text[at - 1] == '\n' && ++seen == lines) {
            break;
        }
    }
    return text.substr(at);
}

void follow_console(const std::filesystem::path& now, std::uint64_t at, int out,
                    const std::function<bool()>& enough) {
    Fd fd;
    for (bool more = true; more && !hung_up(out);) {
        more = !enough(); // and once more what came until then
        if (!fd) {
            fd = Fd(::open(now.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
        }
        if (fd) {
            at = size_of(fd.get()) < at ? 0 : at;
            const std::string piece = read_from(fd.get(), at);
            write_guests(out, piece);
            at += piece.size();
        }
        if (more) {
            std::this_thread::sleep_for(std::chrono::milliseconds(200));
        }
    }
}

void show_console(const std::filesystem::path& now, const std::filesystem::path& old,
                  std::size_t lines, bool follow, int out) {
    const auto before = read_file_if_exists(old, 2 * ConsoleLog::kCap).value_or("");
    const auto text = read_file_if_exists(now, 2 * ConsoleLog::kCap).value_or("");
    write_guests(out, last_lines(before + text, lines));
    if (follow) {
        follow_console(now, text.size(), out, [] { return false; });
    }
}

int console_verb(const Config& config, const MachinePath& machine, std::uint64_t from, int out) {
    sigset_t end;
    sigemptyset(&end);
    sigaddset(&end, SIGTERM);
    ::sigprocmask(SIG_BLOCK, &end, nullptr);
    ::prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
    follow_console(MachineFiles(State(config), machine).console(), from, out, [] {
        sigset_t come;
        return ::sigpending(&come) == 0 && sigismember(&come, SIGTERM) == 1;
    });
    return 0;
}

} // namespace sky::vm
