// SPDX-License-Identifier: MIT
#include "sky-nomad-submit/scheduler.hpp"
#include "sky-nomad-submit/supervised.hpp"

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/privilege.hpp>
#include <sky/process.hpp>
#include <sky/registry.hpp>
#include <sky/state.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <unistd.h>

namespace sky::submit {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr std::size_t kLineMost = 1U << 20U;
constexpr seconds kQuick{60};   ///< for a verb that only looks or writes a file
constexpr seconds kFetch{3600}; ///< silence while a closure is unpacked

/// Bytes of a pipe, cut into lines.
class LineBuffer {
  public:
    explicit LineBuffer(Fd fd) : fd_(std::move(fd)) {}
    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] bool open() const { return static_cast<bool>(fd_); }

    /// Reads once and hands over the whole lines; the pipe is closed at its end.
    template <typename F>
    void take(const F& line) {
        std::array<char, 65536> chunk{};
        const ssize_t n = ::read(fd_.get(), chunk.data(), chunk.size());
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
            return;
        }
        if (n <= 0) {
            fd_.reset();
            if (!text_.empty()) {
                line(text_);
            }
            return;
        }
        text_.append(chunk.data(), static_cast<std::size_t>(n));
        for (auto at = text_.find('\n'); at != std::string::npos; at = text_.find('\n')) {
            line(text_.substr(0, at));
            text_.erase(0, at + 1);
        }
        if (text_.size() > kLineMost) {
            fail(ExitCode::kUnavailable, "sky-vm-run: a line is longer than {} bytes", kLineMost);
        }
    }

  private:
    Fd fd_;
    std::string text_;
};

/// One call of a verb. Its own stdout and stderr never reach a tenant's descriptor directly, so
/// nobody can stall it. It runs as root: we can not kill it. When a deadline passes it is left to
/// itself, with its pipes closed.
class Call {
  public:
    Call(const Config& config, std::string_view verb, const Json& request) : verb_(verb) {
        Pipe in = make_pipe();
        Pipe out = make_pipe();
        Pipe err = make_pipe();
        Command command = crossing_command(config, "root", "sky-vm-run", verb);
        child_ = command.in(in.read.get()).out(out.write.get()).err(err.write.get()).spawn();
        in.read.reset();
        out.write.reset();
        err.write.reset();
        out_.emplace(std::move(out.read));
        err_.emplace(std::move(err.read));
        try {
            // Requests are smaller than a pipe's buffer, so this does not wait for the reader.
            write_all(in.write.get(), request.is_null() ? "" : dump_json(request) + "\n");
        } catch (const SysError&) {
            // It has gone already: its exit code tells.
        }
    }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    ~Call() { child_.release(); }

    /// To the end, or until nothing was heard for as long as `silence` says. The exit code.
    template <typename F>
    int follow(const std::function<seconds()>& silence, const F& line) {
        while (out_->open() || err_->open()) {
            std::array<pollfd, 2> entries{{{out_->fd(), POLLIN, 0}, {err_->fd(), POLLIN, 0}}};
            const auto limit = std::chrono::duration_cast<milliseconds>(silence());
            const int n = ::poll(entries.data(), entries.size(), static_cast<int>(limit.count()));
            if (n == 0) {
                fail(ExitCode::kUnavailable, "sky-vm-run {} did not answer in {} s", verb_,
                     limit.count() / 1000);
            }
            if (entries[0].revents != 0) {
                out_->take(line);
            }
            if (entries[1].revents != 0) {
                err_->take([&](const std::string& text) { said_ = text; });
            }
        }
        const auto code = child_.wait_for(kQuick);
        if (!code) {
            fail(ExitCode::kUnavailable, "sky-vm-run {} does not end", verb_);
        }
        return *code;
    }
    [[nodiscard]] const std::string& said() const { return said_; }

  private:
    std::string verb_;
    Child child_;
    std::optional<LineBuffer> out_;
    std::optional<LineBuffer> err_;
    std::string said_;
};

Json about(const MachinePath& path) {
    return {{"v", 1},
            {"tenant", path.tenant.str()},
            {"repo", path.repo.str()},
            {"machine", path.machine.str()}};
}

class LocalScheduler : public Scheduler {
  public:
    explicit LocalScheduler(const Config& config) : config_(config) {}

    std::vector<Json> enrol(const Tenant& tenant, const Repo& repo,
                            const std::vector<Machine>& machines, std::int64_t max) override {
        Json request = {{"v", 1},
                        {"tenant", tenant.str()},
                        {"repo", repo.str()},
                        {"machines", Json::array()},
                        {"max", max}};
        for (const Machine& machine : machines) {
            request["machines"].push_back(machine.str());
        }
        if (auto known = entries(tenant, repo, machines)) {
            return std::move(*known);
        }
        std::vector<Json> lines;
        Call call(config_, "register", request);
        const int code = call.follow(
            [] { return kQuick; },
            [&](const std::string& line) {
                lines.push_back(parse_json(line, kLineMost, "answer of sky-vm-run register"));
            });
        if (lines.size() != machines.size()) {
            unavailable("register", code, call.said());
        }
        return lines;
    }

    Outcome start(const Spec& spec, const Placing& /*placing*/, const Watch& watch) override {
        return run("start", Json::parse(spec.dump()), watch,
                   seconds(spec.ready_s + spec.stop_s) + kQuick);
    }

    std::optional<MachineState> ready(const Spec& spec) override {
        try {
            const auto text =
                read_file_if_exists(State(config_).vm(spec.path) / "state.json", kLineMost);
            if (!text) {
                return std::nullopt;
            }
            Json line = parse_json(*text, kLineMost, "state.json");
            line.erase("serial"); // between sky-vm-run and its supervisors
            auto state = MachineState::parse(dump_json(line));
            const bool same = state.state == "ready" && state.spec == spec.hash();
            return same && is_watched(spec.path) ? std::optional(std::move(state)) : std::nullopt;
        } catch (const Error&) {
            return std::nullopt; // then it is asked
        }
    }

    Outcome stop(const MachinePath& path, bool forget, const Watch& watch) override {
        Json request = about(path);
        if (forget) {
            request["forget"] = true;
        }
        return run("stop", request, watch, seconds(config_.machine.stop_s) + kQuick);
    }

    Outcome restart(const MachinePath& path, const Watch& watch) override {
        const auto most = seconds(config_.machine.stop_s + config_.machine.ready_s);
        return run("restart", about(path), watch, most + kQuick);
    }

    std::vector<MachineState> list(const std::optional<Tenant>& tenant) override {
        const Json request =
            tenant ? Json{{"v", 1}, {"tenant", tenant->str()}} : Json(nullptr); // nothing: all
        std::vector<MachineState> out;
        Call call(config_, "list", request);
        const int code =
            call.follow([] { return kQuick; },
                        [&](const std::string& line) { out.push_back(MachineState::parse(line)); });
        if (code != 0) {
            unavailable("list", code, call.said());
        }
        return out;
    }

    std::set<MachinePath> watched(const Tenant& tenant) override {
        const std::lock_guard guard(mutex_);
        return watched_[tenant] = supervised(config_, tenant);
    }

    int logs(const MachinePath& path, bool follow, std::int64_t lines) override {
        Json request = about(path);
        request["follow"] = follow;
        request["lines"] = lines;
        Pipe in = make_pipe();
        Command command = crossing_command(config_, "root", "sky-vm-run", "logs");
        Child child = command.in(in.read.get()).out(STDOUT_FILENO).spawn();
        in.read.reset();
        write_all(in.write.get(), dump_json(request) + "\n");
        in.write.reset();
        return child.wait();
    }

  private:
    /// The lines of `register` from the registry itself, if each machine has its entry.
    std::optional<std::vector<Json>> entries(const Tenant& tenant, const Repo& repo,
                                             const std::vector<Machine>& machines) const {
        const Registry registry = load_registry(config_);
        std::vector<Json> lines;
        for (const Machine& machine : machines) {
            const auto* entry = registry.find({tenant, repo, machine});
            if (entry == nullptr) {
                return std::nullopt;
            }
            Json macs = Json::array();
            for (std::uint32_t k = 0; k < kMacsPerMachine; ++k) {
                macs.push_back(machine_mac(entry->index, k));
            }
            lines.push_back({{"v", 1},
                             {"machine", machine.str()},
                             {"index", entry->index},
                             {"machine_id", entry->machine_id},
                             {"macs", std::move(macs)}});
        }
        return lines;
    }

    /// One look at /proc serves all machines of a call.
    bool is_watched(const MachinePath& path) {
        const std::lock_guard guard(mutex_);
        const auto at = watched_.find(path.tenant);
        const auto& seen =
            at != watched_.end()
                ? at->second
                : watched_.emplace(path.tenant, supervised(config_, path.tenant)).first->second;
        return seen.contains(path);
    }

    [[noreturn]] static void unavailable(std::string_view verb, int code, const std::string& said) {
        fail(ExitCode::kUnavailable, "sky-vm-run {} answered {}: {}", verb, code,
             printable(said, 200));
    }

    Outcome run(std::string_view verb, const Json& request, const Watch& watch,
                seconds most) const {
        Outcome outcome;
        Call call(config_, verb, request);
        const auto silence = [&] {
            const bool fetching = outcome.last && outcome.last->state == "fetching";
            return fetching ? kFetch : most;
        };
        outcome.exit_code = call.follow(silence, [&](const std::string& line) {
            outcome.last = MachineState::parse(line);
            watch(*outcome.last);
        });
        outcome.said = call.said();
        return outcome;
    }

    const Config& config_;
    std::mutex mutex_;
    std::map<Tenant, std::set<MachinePath>> watched_; ///< guarded
};

} // namespace

std::unique_ptr<Scheduler> make_local_scheduler(const Config& config) {
    return std::make_unique<LocalScheduler>(config);
}

} // namespace sky::submit
