// SPDX-License-Identifier: MIT
#pragma once

#include <sky/fd.hpp>
#include <sky/json.hpp>

#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <variant>
#include <vector>

namespace sky::submit {

/// Works on several machines at once. Workers touch no descriptor of the caller: what they say goes
/// through a queue to the one thread in run(), so a client that does not read stalls that thread,
/// and no lock that a worker holds.
class Crew {
  public:
    using Task = std::function<void()>;

    explicit Crew(std::size_t most_at_once = 4);
    Crew(const Crew&) = delete;
    Crew& operator=(const Crew&) = delete;
    ~Crew();

    /// Queues a task; what it throws is a bug. From the thread of run() only.
    void add(Task task);
    /// A line for people, on stderr. From any thread, never blocks.
    void say(std::string line);
    /// An object on stdout. From any thread, never blocks.
    void answer(const Json& object);

    /// Hands each line of `in` (-1: none) to `line` until its end, delivers what was said, returns
    /// when all is done. Leaves the process (exit code kIo) as soon as nobody reads stdout or
    /// stderr any more.
    void run(int in, const std::function<void(const std::string&)>& line);

  private:
    struct Event {
        bool people = false;
        std::string text;
    };

    void start_more();
    void post(Event event);
    void deliver();
    [[nodiscard]] bool busy();
    bool read_lines(int in, const std::function<void(const std::string&)>& line);

    const std::size_t most_;
    Fd wake_;
    std::string input_;
    std::mutex mutex_; ///< guards what follows
    std::deque<Event> events_;
    std::deque<Task> waiting_;
    std::size_t running_ = 0;
    std::vector<std::thread> threads_; ///< the thread of run() alone
};

} // namespace sky::submit
