// SPDX-License-Identifier: MIT
#include <sky-nomad-submit/crew.hpp>

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/log.hpp>
#include <sky/spec.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace sky::submit {
namespace {

constexpr std::size_t kReadAtOnce = 65536;

/// Without destructors: workers are in the middle of calls that may take minutes. Every step they
/// have finished is on disk, the kernel drops their locks, and the next contact goes on from there.
[[noreturn]] void quit() {
    std::_Exit(code(ExitCode::kIo));
}

} // namespace

Crew::Crew(std::size_t most_at_once)
    : most_(most_at_once), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (!wake_) {
        fail_errno("cannot make an event descriptor");
    }
}

Crew::~Crew() {
    for (auto& thread : threads_) {
        thread.join();
    }
}

void Crew::add(Task task) {
    {
        const std::lock_guard guard(mutex_);
        waiting_.push_back(std::move(task));
    }
    start_more();
}

void Crew::start_more() {
    const std::lock_guard guard(mutex_);
    while (running_ < most_ && !waiting_.empty()) {
        ++running_;
        threads_.emplace_back([this, task = std::move(waiting_.front())] {
            task();
            {
                const std::lock_guard inner(mutex_);
                --running_;
            }
            post({}); // wakes run()
        });
        waiting_.pop_front();
    }
}

void Crew::say(std::string line) {
    post({.people = true, .text = std::move(line)});
}

void Crew::answer(const Json& object) {
    post({.people = false, .text = dump_json(object) + "\n"});
}

void Crew::post(Event event) {
    if (event.people || !event.text.empty()) {
        const std::lock_guard guard(mutex_);
        events_.push_back(std::move(event));
    }
    const std::uint64_t one = 1;
    // Full means that it is readable already.
    [[maybe_unused]] const auto n = ::write(wake_.get(), &one, sizeof one);
}

void Crew::deliver() {
    std::deque<Event> events;
    {
        const std::lock_guard guard(mutex_);
        events.swap(events_);
    }
    for (const Event& event : events) {
        if (event.people) {
            log::say(event.text);
            continue;
        }
        try {
            write_all(STDOUT_FILENO, event.text);
        } catch (const Error&) {
            quit();
        }
    }
}

bool Crew::busy() {
    const std::lock_guard guard(mutex_);
    return running_ > 0 || !waiting_.empty() || !events_.empty();
}

bool Crew::read_lines(int in, const std::function<void(const std::string&)>& line) {
    std::array<char, kReadAtOnce> chunk{};
    const ssize_t n = ::read(in, chunk.data(), chunk.size());
    if (n < 0) {
        if (errno == EINTR || errno == EAGAIN) {
            return true;
        }
        fail_errno("cannot read requests");
    }
    if (n == 0 && !input_.empty()) {
        input_.push_back('\n'); // a last line without newline counts
    }
    input_.append(chunk.data(), static_cast<std::size_t>(n));
    for (auto at = input_.find('\n'); at != std::string::npos; at = input_.find('\n')) {
        const std::string text = input_.substr(0, at);
        input_.erase(0, at + 1);
        if (!text.empty()) {
            line(text);
        }
    }
    if (input_.size() > kSpecBytesMax) {
        fail(ExitCode::kData, "a request is longer than {} bytes", kSpecBytesMax);
    }
    return n > 0;
}

void Crew::run(int in, const std::function<void(const std::string&)>& line) {
    bool reading = in >= 0;
    while (reading || busy()) {
        std::array<pollfd, 4> entries{{{wake_.get(), POLLIN, 0},
                                       {STDOUT_FILENO, 0, 0},
                                       {STDERR_FILENO, 0, 0},
                                       {reading ? in : -1, POLLIN, 0}}};
        if (::poll(entries.data(), entries.size(), -1) < 0 && errno != EINTR) {
            fail_errno("cannot poll");
        }
        if (((entries[1].revents | entries[2].revents) & (POLLERR | POLLHUP)) != 0) {
            quit();
        }
        if (entries[0].revents != 0) {
            std::uint64_t count = 0;
            [[maybe_unused]] const auto n = ::read(wake_.get(), &count, sizeof count);
        }
        if (entries[3].revents != 0) {
            reading = read_lines(in, line);
        }
        start_more();
        deliver();
    }
}

} // namespace sky::submit
