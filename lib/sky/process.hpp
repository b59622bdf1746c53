// SPDX-License-Identifier: MIT
#pragma once

#include <sky/fd.hpp>

#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace sky {

/// Kills (SIGKILL) and reaps what it still owns when it goes: no child outlives its object unless
/// released.
class [[nodiscard]] Child {
  public:
    Child() noexcept = default;
    explicit Child(pid_t pid, bool group) noexcept : pid_(pid), group_(group) {}
    Child(Child&& other) noexcept;
    Child& operator=(Child&& other) noexcept;
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    ~Child();

    [[nodiscard]] pid_t pid() const noexcept { return pid_; }
    explicit operator bool() const noexcept { return pid_ > 0; }
    /// Sends a signal to the child, or to its process group if it was given one. Nothing if it was
    /// reaped.
    void kill(int signal) noexcept;
    /// Waits without limit; the exit code as exit_code_of_wait_status.
    int wait();
    /// Waits at most `limit`; nothing if it still runs.
    std::optional<int> wait_for(std::chrono::milliseconds limit);
    /// A pidfd for poll(2). Throws SysError.
    [[nodiscard]] Fd pidfd() const;
    /// Gives up ownership.
    pid_t release() noexcept;

  private:
    pid_t pid_ = -1;
    bool group_ = false;
};

struct Captured {
    int exit_code = 0;
    std::string out;
    std::string err; ///< the last 64 KiB of stderr, when Command::capture_stderr was asked
};

/// A program and how to start it. Argument vectors only: there is no shell in our C++.
/// The environment starts empty but for PATH=/usr/sbin:/usr/bin:/sbin:/bin and LANG=C.UTF-8.
/// All descriptors >= 3 are closed in the child but those of pass_fd(); signal mask and
/// dispositions are reset.
class Command {
  public:
    explicit Command(const std::filesystem::path& program);
    Command& arg(std::string_view text);
    Command& args(const std::vector<std::string>& texts);
    Command& env(const std::string& key, std::string_view value);
    Command& clear_env();
    Command& cwd(std::filesystem::path directory);
    /// Standard descriptors; the default is /dev/null for 0 and inherited for 1 and 2. Not owned.
    Command& in(int fd);
    Command& out(int fd);
    Command& err(int fd);
    /// Keeps `fd` open in the child under the same number.
    Command& pass_fd(int fd);
    /// The child leads its own process group, and Child::kill reaches all of it.
    Command& group();

    [[nodiscard]] const std::vector<std::string>& argv() const noexcept { return argv_; }

    /// Starts it. Throws SysError when it can not be executed.
    [[nodiscard]] Child spawn() const;
    /// Runs it to its end with `input` on stdin. stdout is captured, at most `cap` bytes (more:
    /// Error kData). A deadline that passes kills the group: Error(kBusy) naming the program.
    [[nodiscard]] Captured capture(std::string_view input, std::size_t cap,
                                   std::optional<std::chrono::milliseconds> limit = std::nullopt,
                                   bool capture_stderr = false) const;
    /// Runs it to its end; the exit code.
    int run() const;
    /// Replaces this process (execve). Throws SysError if that fails.
    [[noreturn]] void exec() const;

  private:
    std::vector<std::string> argv_;
    std::map<std::string, std::string> env_;
    std::filesystem::path cwd_;
    std::optional<int> in_, out_, err_;
    std::vector<int> passed_;
    bool group_ = false;
};

/// True if `pid` lives and is not a zombie.
[[nodiscard]] bool alive(pid_t pid) noexcept;

} // namespace sky
