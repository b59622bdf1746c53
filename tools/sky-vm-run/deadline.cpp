// SPDX-License-Identifier: MIT
#include <sky-vm-run/deadline.hpp>

#include <sky/error.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <random>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <time.h>

namespace sky::vm {
namespace {

constexpr std::size_t kId = 32; ///< hex digits

} // namespace

/// The file, byte by byte.
struct Deadline::Page {
    std::atomic<std::int64_t> deadline_ns;
    std::array<char, kId> incarnation;
    std::array<char, kId> boot;
};
static_assert(std::atomic<std::int64_t>::is_always_lock_free);

std::chrono::nanoseconds boot_clock() noexcept {
    timespec now{};
    ::clock_gettime(CLOCK_BOOTTIME, &now);
    return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

std::string boot_id() {
    std::string boot = read_file("/proc/sys/kernel/random/boot_id", 64);
    boot.erase(
        std::remove_if(boot.begin(), boot.end(), [](char c) { return c == '-' || c == '\n'; }),
        boot.end());
    return boot;
}

std::string new_incarnation() {
    std::random_device random;
    return fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

Deadline::Deadline(Page* page, std::string incarnation)
    : page_(page), incarnation_(std::move(incarnation)) {}

void Deadline::Unmap::operator()(Page* page) const noexcept {
    ::munmap(page, sizeof(Page));
}

Deadline Deadline::make(const std::filesystem::path& file, const std::string& incarnation) {
    const std::string text = std::string(sizeof(std::int64_t), '\0') + incarnation + boot_id();
    atomic_write(file, text, {.durable = false}); // a boot later it says nothing
    auto made = open(file, true);
    if (!made || made->incarnation() != incarnation) {
        fail(ExitCode::kBug, "'{}' is not what was written", file.string());
    }
    return std::move(*made);
}

std::optional<Deadline> Deadline::open(const std::filesystem::path& file, bool writable) {
    const Fd fd(
        ::open(file.c_str(), (writable ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
    if (!fd) {
        if (errno == ENOENT) {
            return std::nullopt;
        }
        fail_errno("cannot open '{}'", file.string());
    }
    // Of its whole length: a shorter one would be a fault to look at.
    if (read_all(fd.get(), sizeof(Page) + 1, file.string()).size() != sizeof(Page)) {
        return std::nullopt;
    }
    void* at = ::mmap(nullptr, sizeof(Page), PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED,
                      fd.get(), 0);
    if (at == MAP_FAILED) {
        fail_errno("cannot map '{}'", file.string());
    }
    auto* page = static_cast<Page*>(at);
    Deadline out(page, std::string(page->incarnation.data(), kId));
    if (std::string_view(page->boot.data(), kId) != boot_id()) {
        return std::nullopt;
    }
    return out;
}

std::chrono::nanoseconds Deadline::get() const noexcept {
    return std::chrono::nanoseconds(page_->deadline_ns.load());
}

void Deadline::set(std::chrono::nanoseconds deadline) noexcept {
    page_->deadline_ns.store(deadline.count());
}

std::optional<std::string> held_lease(const std::filesystem::path& file) {
    const auto deadline = Deadline::open(file);
    return deadline && !deadline->past() ? std::optional(deadline->incarnation()) : std::nullopt;
}

DeadlineTimer::DeadlineTimer(std::optional<Deadline> deadline) : deadline_(std::move(deadline)) {
    if (!deadline_) {
        return;
    }
    deadline_->pin();
    timer_ = Fd(::timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK));
    if (!timer_) {
        fail_errno("cannot make a timer");
    }
}

bool DeadlineTimer::passed() noexcept {
    if (!deadline_) {
        return false;
    }
    const auto at = deadline_->get();
    if (at <= boot_clock()) {
        return true;
    }
    const auto whole = std::chrono::duration_cast<std::chrono::seconds>(at);
    itimerspec when{};
    when.it_value.tv_sec = whole.count();
    when.it_value.tv_nsec = (at - whole).count();
    // Setting it takes back what it had to say. If that fails, so would the next look: better now.
    return ::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr) != 0;
}

void Deadline::pin() const {
    if (::mlock(page_.get(), sizeof(Page)) != 0) {
        fail_errno("cannot keep the lease's deadline in memory");
    }
}

} // namespace sky::vm
