// SPDX-License-Identifier: MIT
#include "sky-nomad-submit/exec-frames.hpp"
#include "sky-nomad-submit/nomad-scheduler.hpp"

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/terminal.hpp>

#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <unistd.h>

namespace sky::submit {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kChunk = 32768;
constexpr milliseconds kBeat{10'000}; ///< as Nomad's own client says that it is there

/// Our stdin and stdout as those of a command that Nomad runs for us.
class Exec {
  public:
    explicit Exec(http::WebSocket socket) : socket_(std::move(socket)) {}

    /// `first` comes before what our stdin has. The command's exit code.
    int run(std::string_view first) {
        socket_.queue(exec_input(first));
        while (!code_) {
            const bool sent = socket_.flush();
            if (left_.empty() && take()) {
                continue;
            }
            if (socket_.ended() && !code_) {
                fail(ExitCode::kUnavailable, "nomad ended the connection: {}",
                     socket_.last_words().empty() ? "without a word" : socket_.last_words());
            }
            if (!code_ && !wait(sent)) {
                return 0; // nobody reads any more
            }
        }
        return *code_;
    }

  private:
    /// Something came; false: nothing for now.
    bool take() {
        const auto message = socket_.next();
        if (!message) {
            return false;
        }
        ExecOutput output = exec_output(*message);
        left_ = std::move(output.out);
        said_ += output.err;
        if (output.exit_code) {
            code_ = output.exit_code;
            write_guests(STDERR_FILENO, said_);
        }
        return left_.empty();
    }

    bool wait(bool sent) {
        std::array<pollfd, 3> entries{
            {{socket_.fd(), static_cast<short>((left_.empty() ? POLLIN : 0) | (sent ? 0 : POLLOUT)),
              0},
             {sent && !ended_ ? STDIN_FILENO : -1, POLLIN, 0},
             {STDOUT_FILENO, left_.empty() ? short{0} : short{POLLOUT}, 0}}};
        const int n = ::poll(entries.data(), entries.size(), static_cast<int>(kBeat.count()));
        if (n < 0 && errno != EINTR) {
            fail_errno("cannot poll");
        }
        if (n == 0 && sent) {
            socket_.queue("{}");
        }
        if (entries[1].revents != 0) {
            pull();
        }
        if ((entries[2].revents & POLLOUT) != 0) {
            const ssize_t written = ::write(STDOUT_FILENO, left_.data(), left_.size());
            left_.erase(0, written > 0 ? static_cast<std::size_t>(written) : 0);
        }
        return (entries[2].revents & (POLLERR | POLLHUP)) == 0;
    }

    void pull() {
        std::array<char, kChunk> chunk{};
        const ssize_t n = ::read(STDIN_FILENO, chunk.data(), chunk.size());
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
            return;
        }
        ended_ = n <= 0;
        socket_.queue(ended_ ? exec_input_end()
                             : exec_input({chunk.data(), static_cast<std::size_t>(n)}));
    }

    http::WebSocket socket_;
    std::string left_; ///< for our stdout
    std::string said_; ///< by the command, for people
    std::optional<int> code_;
    bool ended_ = false; ///< our stdin
};

} // namespace

int NomadScheduler::connect(const MachinePath& path, const std::string& address,
                            std::uint16_t port) {
    const auto all = allocations(path);
    const Allocation* now = newest(all);
    if (now == nullptr || now->state != "running") {
        fail(ExitCode::kUnavailable, "'{}' runs on no host", path.text());
    }
    if (now->node == config_.host) {
        return Scheduler::connect(path, address, port);
    }
    auto query = in(path);
    query.emplace_back("task", "vm");
    query.emplace_back("tty", "false");
    query.emplace_back("command", dump_json({config_.tool("sky-nomad-submit").string(), "--config",
                                             config_.file.string(), "connect"}));
    Exec exec(nomad().talk("client/allocation/" + now->id + "/exec", query));
    return exec.run(dump_json({{"v", 1},
                               {"tenant", path.tenant.str()},
                               {"repo", path.repo.str()},
                               {"machine", path.machine.str()},
                               {"port", port},
                               {"here", true}}) +
                    "\n");
}

} // namespace sky::submit
