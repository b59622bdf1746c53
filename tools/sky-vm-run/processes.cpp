// SPDX-License-Identifier: MIT
#include <sky-vm-run/processes.hpp>

#include <sky/error.hpp>
#include <sky/registry.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <poll.h>
#include <string>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

namespace sky::vm {
namespace {

namespace fs = std::filesystem;

template <typename T>
std::optional<T> number(std::string_view text) {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc{} && end != text.data() ? std::optional(value) : std::nullopt;
}

/// The rest of the line that begins with `key`, without leading blanks; empty when there is none.
std::string_view line_of(std::string_view text, std::string_view key) {
    for (std::size_t at = 0; at < text.size();) {
        const auto end = std::min(text.find('\n', at), text.size());
        const auto line = text.substr(at, end - at);
        if (line.substr(0, key.size()) == key) {
            const auto from = line.find_first_not_of(" \t", key.size());
            return from == std::string_view::npos ? std::string_view{} : line.substr(from);
        }
        at = end + 1;
    }
    return {};
}

std::vector<std::string_view> words(std::string_view text) {
    std::vector<std::string_view> out;
    for (std::size_t at = 0;
         (at = text.find_first_not_of(" \t\n", at)) != std::string_view::npos;) {
        const auto end = std::min(text.find_first_of(" \t\n", at), text.size());
        out.push_back(text.substr(at, end - at));
        at = end;
    }
    return out;
}

/// A file of /proc, or empty when its process has gone.
std::string proc_file(const fs::path& path) {
    try {
        return read_file(path, 65536);
    } catch (const Error&) {
        return {};
    }
}

/// From the first lines, which is all that most processes of a host are looked at for.
std::optional<uid_t> uid_of(const fs::path& status) {
    std::array<char, 512> text{};
    const Fd fd(::open(status.c_str(), O_RDONLY | O_CLOEXEC));
    const ssize_t n = fd ? ::read(fd.get(), text.data(), text.size()) : 0;
    return number<uid_t>(line_of({text.data(), n > 0 ? static_cast<std::size_t>(n) : 0}, "Uid:"));
}

template <typename F>
void each_pid(F&& f) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator("/proc", ignored)) {
        const auto name = entry.path().filename().string();
        if (name.find_first_not_of("0123456789") == std::string::npos) {
            f(entry.path());
        }
    }
}

/// How many descriptors are looked at: a hypervisor opens its taps among its first, a hostile one
/// may have millions.
constexpr std::size_t kLooksMost = 8192;
/// A runner is the guard's child; what it starts itself may be a wrapper's hypervisor.
constexpr std::size_t kChildrenMost = 64;

/// The children of a process's first thread.
std::vector<pid_t> children_of(pid_t pid) {
    std::vector<pid_t> out;
    const auto text = proc_file(fmt::format("/proc/{}/task/{}/children", pid, pid));
    for (const auto word : words(text)) {
        if (const auto child = number<pid_t>(word)) {
            out.push_back(*child);
        }
    }
    return out;
}

} // namespace

std::optional<Process> parse_process(std::string_view status, std::string_view stat) {
    const auto state = line_of(status, "State:");
    const auto pid = number<pid_t>(line_of(status, "Pid:"));
    const auto parent = number<pid_t>(line_of(status, "PPid:"));
    const auto uid = number<uid_t>(line_of(status, "Uid:"));
    const auto inner = words(line_of(status, "NSpid:"));
    if (state.empty() || state[0] == 'Z' || state[0] == 'X' || !pid || !parent || !uid ||
        inner.empty()) {
        return std::nullopt;
    }
    // The command's name in parentheses can hold anything: count from the last one.
    const auto close = stat.rfind(')');
    const auto fields = words(close == std::string_view::npos ? "" : stat.substr(close + 1));
    const auto start = fields.size() > 19 ? number<std::uint64_t>(fields[19]) : std::nullopt;
    if (!start) {
        return std::nullopt;
    }
    return Process{*pid,  *parent, *uid, number<pid_t>(inner.back()).value_or(0), inner.size() > 1,
                   *start};
}

std::vector<Process> processes_of(uid_t first, std::uint32_t count) {
    std::vector<Process> out;
    each_pid([&](const fs::path& directory) {
        const auto wanted = [&](uid_t uid) { return uid >= first && uid - first < count; };
        const auto uid = uid_of(directory / "status");
        if (!uid || !wanted(*uid)) {
            return;
        }
        if (auto process =
                parse_process(proc_file(directory / "status"), proc_file(directory / "stat"));
            process && wanted(process->uid)) {
            out.push_back(*process);
        }
    });
    return out;
}

Alive alive_among(const std::vector<Process>& all, uid_t uid) {
    Alive alive;
    for (const auto& p : all) {
        if (p.uid == uid + static_cast<uid_t>(MachineUid::kGuard) && p.inner && p.inner_pid == 1) {
            alive.guard = p;
        }
    }
    if (!alive.guard) {
        return alive;
    }
    for (const auto& p : all) {
        if (p.uid == uid && p.parent == alive.guard->pid &&
            (!alive.runner || p.start < alive.runner->start)) {
            alive.runner = p;
        }
    }
    return alive;
}

Alive alive_of(uid_t uid) {
    return alive_among(processes_of(uid, kUidsPerMachine), uid);
}

std::optional<Fd> pidfd_of(const Process& process) {
    const long fd = ::syscall(SYS_pidfd_open, process.pid, 0);
    if (fd < 0) {
        return std::nullopt;
    }
    Fd owned(static_cast<int>(fd));
    // Only now can the pid not come back: what /proc says here is about this descriptor.
    const fs::path directory = fs::path("/proc") / std::to_string(process.pid);
    const auto now = parse_process(proc_file(directory / "status"), proc_file(directory / "stat"));
    if (!now || now->start != process.start || now->uid != process.uid) {
        return std::nullopt;
    }
    return owned;
}

void kill_block(uid_t uid, std::chrono::milliseconds limit) {
    const auto end = std::chrono::steady_clock::now() + limit;
    for (;;) {
        const auto all = processes_of(uid, kUidsPerMachine);
        if (all.empty()) {
            return;
        }
        for (const auto& process : all) {
            if (const auto fd = pidfd_of(process)) {
                ::syscall(SYS_pidfd_send_signal, fd->get(), SIGKILL, nullptr, 0);
            }
        }
        if (std::chrono::steady_clock::now() > end) {
            fail(ExitCode::kBusy, "process {} of uid {} does not end", all.front().pid,
                 all.front().uid);
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
}

void signal_uid(uid_t uid, int signal) noexcept {
    try {
        for (const auto& process : processes_of(uid, 1)) {
            if (const auto fd = process.inner ? pidfd_of(process) : std::nullopt) {
                ::syscall(SYS_pidfd_send_signal, fd->get(), signal, nullptr, 0);
            }
        }
    } catch (const std::exception&) { // no memory: the deadline after this one kills
    }
}

std::size_t attached_queues(pid_t guard) {
    std::size_t count = 0;
    std::size_t looks = 0;
    std::vector<pid_t> found = children_of(guard);
    for (std::size_t i = 0; i < found.size() && found.size() <= kChildrenMost; ++i) {
        const auto more = children_of(found[i]);
        found.insert(found.end(), more.begin(), more.end());
        std::error_code ignored;
        const auto directory = fs::path("/proc") / std::to_string(found[i]) / "fdinfo";
        for (const auto& entry : fs::directory_iterator(directory, ignored)) {
            if (++looks > kLooksMost) {
                return count;
            }
            count += line_of(proc_file(entry.path()), "iff:").empty() ? 0U : 1U;
        }
    }
    return count;
}

} // namespace sky::vm
