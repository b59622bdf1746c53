// SPDX-License-Identifier: MIT
// Stands in the place of each tool, and runs the real one: plainly, or so that its state-changing
// system calls are written down, or so that it is killed (SIGKILL) as it enters one of them.
//
// strace finds such calls, too, and can inject a signal, and was tried first. It counts each
// process and each number of a call for itself, so that neither a forked child nor, after a look
// through /proc, "the third file that it makes" can be named; it can not hand on argv[0], by which
// sky-nomad-submit knows supervisors; and a tracer without privileges takes the set-uid bit off the
// sudo that a traced tool executes. Hence this: the calls of one invocation (a process and all that
// it forks, threads too) are counted together, from 1, in the order in which they are entered. A
// process that executes something else is let go: that has a place of its own if it is one of ours.
//
// DIR/usr/bin/TOOL is this program, with the file capability cap_sys_ptrace (the tracer keeps it,
// the tool loses it with its execve), DIR/usr/real/TOOL the tool. The process that was started
// stays the tool's: same pid, parent, descriptors, limits; the tracer is a grandchild in a session
// of its own that holds nothing open. DIR/fault/plan says what to do:
//   record                        each invocation writes DIR/fault/log/ROLE:N, N counting that
//   role's from 1 kill ROLE N OCCURRENCE WORDS  kills in ROLE's N-th invocation, at its
//   OCCURRENCE-th call that is WORDS
// ROLE is TOOL.VERB.UID. A line of a log: "NUMBER PROCESS WORDS", PROCESS counting from 0, WORDS
// the call and its object without what differs from run to run; "killed NUMBER PROCESS WORDS" ends
// it. test/fault/points chooses from them.
#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <limits.h>
#include <linux/sched.h>
#include <map>
#include <sstream>
#include <string>
#include <sys/auxv.h>
#include <sys/file.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace {

using Arguments = std::array<std::uint64_t, 6>;

struct Plan {
    bool record = false;
    std::string role;
    long invocation = 0;
    long occurrence = 0;
    std::string words;
};

std::string string_at(pid_t pid, std::uint64_t address) {
    std::array<char, 512> buffer{};
    // A page at a time: the string may end just before what is not mapped.
    std::size_t got = 0;
    while (got < buffer.size() - 1) {
        const std::size_t most =
            std::min<std::size_t>(buffer.size() - 1 - got, 4096 - (address + got) % 4096);
        iovec local{buffer.data() + got, most};
        iovec remote{reinterpret_cast<void*>(address + got), most};
        const ssize_t n = ::process_vm_readv(pid, &local, 1, &remote, 1, 0);
        if (n <= 0 || std::memchr(buffer.data() + got, 0, static_cast<std::size_t>(n)) != nullptr) {
            break;
        }
        got += static_cast<std::size_t>(n);
    }
    return buffer.data();
}

std::uint64_t number_at(pid_t pid, std::uint64_t address) {
    std::uint64_t value = 0;
    iovec local{&value, sizeof value};
    iovec remote{reinterpret_cast<void*>(address), sizeof value};
    return ::process_vm_readv(pid, &local, 1, &remote, 1, 0) == sizeof value ? value : 0;
}

std::string link_of(const std::string& path) {
    std::array<char, PATH_MAX> buffer{};
    const ssize_t n = ::readlink(path.c_str(), buffer.data(), buffer.size() - 1);
    return n > 0 ? std::string(buffer.data(), static_cast<std::size_t>(n)) : "?";
}

std::string descriptor(pid_t pid, std::uint64_t fd) {
    return link_of("/proc/" + std::to_string(pid) + "/fd/" + std::to_string(static_cast<int>(fd)));
}

/// The object of a call that takes a directory's descriptor and a path.
std::string below(pid_t pid, std::uint64_t directory, std::uint64_t path) {
    const std::string name = string_at(pid, path);
    if (!name.empty() && name.front() == '/') {
        return name;
    }
    return (static_cast<int>(directory) == AT_FDCWD
                ? link_of("/proc/" + std::to_string(pid) + "/cwd")
                : descriptor(pid, directory)) +
           "/" + name;
}

bool writes(std::uint64_t flags) {
    return (flags & (O_CREAT | O_TRUNC | O_WRONLY | O_RDWR)) != 0;
}

/// What of a call is its object, and of what kind its arguments are.
enum class Shape { kPath, kAt, kFd, kOther };

struct Known {
    const char* name;
    Shape shape;
};

/// Calls that change something whatever their arguments are.
const std::map<long, Known>& always() {
    static const std::map<long, Known> calls{
        {SYS_creat, {"creat", Shape::kPath}},
        {SYS_rename, {"rename", Shape::kPath}},
        {SYS_renameat, {"renameat", Shape::kAt}},
        {SYS_renameat2, {"renameat2", Shape::kAt}},
        {SYS_link, {"link", Shape::kPath}},
        {SYS_linkat, {"linkat", Shape::kAt}},
        {SYS_symlink, {"symlink", Shape::kPath}},
        {SYS_symlinkat, {"symlinkat", Shape::kPath}},
        {SYS_unlink, {"unlink", Shape::kPath}},
        {SYS_unlinkat, {"unlinkat", Shape::kAt}},
        {SYS_rmdir, {"rmdir", Shape::kPath}},
        {SYS_mkdir, {"mkdir", Shape::kPath}},
        {SYS_mkdirat, {"mkdirat", Shape::kAt}},
        {SYS_mknod, {"mknod", Shape::kPath}},
        {SYS_mknodat, {"mknodat", Shape::kAt}},
        {SYS_chmod, {"chmod", Shape::kPath}},
        {SYS_fchmodat, {"fchmodat", Shape::kAt}},
        {SYS_fchmod, {"fchmod", Shape::kFd}},
        {SYS_chown, {"chown", Shape::kPath}},
        {SYS_lchown, {"lchown", Shape::kPath}},
        {SYS_fchownat, {"fchownat", Shape::kAt}},
        {SYS_fchown, {"fchown", Shape::kFd}},
        {SYS_truncate, {"truncate", Shape::kPath}},
        {SYS_ftruncate, {"ftruncate", Shape::kFd}},
        {SYS_fallocate, {"fallocate", Shape::kFd}},
        {SYS_fsync, {"fsync", Shape::kFd}},
        {SYS_fdatasync, {"fdatasync", Shape::kFd}},
        {SYS_syncfs, {"syncfs", Shape::kFd}},
        {SYS_flock, {"flock", Shape::kFd}},
        {SYS_utimensat, {"utimensat", Shape::kAt}},
        {SYS_sendfile, {"sendfile", Shape::kFd}},
        {SYS_sendto, {"sendto", Shape::kFd}},
        {SYS_sendmsg, {"sendmsg", Shape::kFd}},
        {SYS_bind, {"bind", Shape::kFd}},
        {SYS_fork, {"fork", Shape::kOther}},
        {SYS_vfork, {"vfork", Shape::kOther}},
        {SYS_unshare, {"unshare", Shape::kOther}},
        {SYS_setns, {"setns", Shape::kFd}},
        {SYS_mount, {"mount", Shape::kOther}},
        {SYS_umount2, {"umount2", Shape::kPath}},
        {SYS_pivot_root, {"pivot_root", Shape::kPath}},
        {SYS_open_tree, {"open_tree", Shape::kAt}},
        {SYS_move_mount, {"move_mount", Shape::kOther}},
        {SYS_mount_setattr, {"mount_setattr", Shape::kOther}},
        {SYS_fsopen, {"fsopen", Shape::kPath}},
        {SYS_fsmount, {"fsmount", Shape::kFd}},
        {SYS_sethostname, {"sethostname", Shape::kPath}},
        {SYS_exit_group, {"exit_group", Shape::kOther}},
    };
    return calls;
}

struct Call {
    std::string name, object;
};

/// The call if it changes something outside its process; an empty name otherwise.
Call state_changing(pid_t pid, long number, const Arguments& a) {
    if (const auto known = always().find(number); known != always().end()) {
        const auto& [name, shape] = known->second;
        switch (shape) {
        case Shape::kPath:
            return {name, string_at(pid, a[0])};
        case Shape::kAt:
            return {name, below(pid, a[0], a[1])};
        case Shape::kFd:
            return {name, descriptor(pid, a[0])};
        case Shape::kOther:
            return {name, number == SYS_mount ? string_at(pid, a[1]) : ""};
        }
    }
    switch (number) {
    case SYS_open:
        return writes(a[1]) ? Call{"open", string_at(pid, a[0])} : Call{};
    case SYS_openat:
        return writes(a[2]) ? Call{"openat", below(pid, a[0], a[1])} : Call{};
    case SYS_openat2:
        return writes(number_at(pid, a[2])) ? Call{"openat2", below(pid, a[0], a[1])} : Call{};
    case SYS_write:
    case SYS_pwrite64:
    case SYS_writev:
    case SYS_pwritev:
        return a[0] == STDERR_FILENO ? Call{} : Call{"write", descriptor(pid, a[0])};
    case SYS_copy_file_range:
    case SYS_splice:
        return {"copy", descriptor(pid, a[2])};
    case SYS_fcntl:
        return a[1] == F_SETLK || a[1] == F_SETLKW || a[1] == F_OFD_SETLK || a[1] == F_OFD_SETLKW
                   ? Call{"lock", descriptor(pid, a[0])}
                   : Call{};
    case SYS_ioctl: // TUNSETIFF to TUNSETGROUP
        return (a[1] & 0xff00U) == 0x5400U && (a[1] & 0xffU) >= 0xcaU && (a[1] & 0xffU) <= 0xceU
                   ? Call{"ioctl", descriptor(pid, a[0])}
                   : Call{};
    case SYS_clone:
        return (a[0] & CLONE_THREAD) == 0 ? Call{"clone", ""} : Call{};
    case SYS_clone3:
        return (number_at(pid, a[0]) & CLONE_THREAD) == 0 ? Call{"clone", ""} : Call{};
    case SYS_execve:
        return {"execve", string_at(pid, a[0])};
    case SYS_kill:
    case SYS_tkill:
        return a[1] != 0 ? Call{"kill", ""} : Call{};
    case SYS_tgkill:
        return a[2] != 0 ? Call{"kill", ""} : Call{};
    case SYS_pidfd_send_signal:
        return a[1] != 0 ? Call{"kill", ""} : Call{};
    default:
        return {};
    }
}

/// Digits and random parts of an object's name, out: what is left is the same in each run.
std::string steady(const std::string& text) {
    std::string out;
    for (std::size_t i = 0; i < text.size();) {
        std::size_t end = i;
        bool digit = false;
        while (end < text.size() && std::isalnum(static_cast<unsigned char>(text[end])) != 0) {
            digit = digit || std::isdigit(static_cast<unsigned char>(text[end])) != 0;
            ++end;
        }
        if (end == i) {
            out += text[i++];
            continue;
        }
        out += digit ? "#" : text.substr(i, end - i);
        i = end;
    }
    return out;
}

class Tracer {
  public:
    Tracer(Plan plan, int log) : plan_(std::move(plan)), log_(log) {}

    bool seize(pid_t pid) {
        constexpr long kOptions = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                                  PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC;
        if (::ptrace(PTRACE_SEIZE, pid, 0L, kOptions) != 0) {
            say("cannot trace: " + std::string(std::strerror(errno)));
            return false;
        }
        first_ = pid;
        index_[pid] = 0;
        return ::ptrace(PTRACE_INTERRUPT, pid, 0L, 0L) == 0;
    }

    void run() {
        int status = 0;
        for (pid_t pid = 0; (pid = ::waitpid(-1, &status, __WALL)) > 0 || errno == EINTR;) {
            if (pid > 0 && WIFSTOPPED(status)) {
                stopped(pid, status);
            }
            if (done_) {
                return; // whoever is left goes on untraced
            }
        }
    }

  private:
    void say(const std::string& text) {
        const std::string line = text + "\n";
        [[maybe_unused]] const ssize_t n = ::write(log_, line.data(), line.size());
    }

    void stopped(pid_t pid, int status) {
        const int signal = WSTOPSIG(status);
        const int event = status >> 16;
        index_.emplace(pid, static_cast<int>(index_.size()));
        if (event == PTRACE_EVENT_EXEC && begun_) {
            ::ptrace(PTRACE_DETACH, pid, 0L, 0L);
        } else if (event == PTRACE_EVENT_EXEC) {
            begun_ = true;
            ::ptrace(PTRACE_SYSCALL, pid, 0L, 0L);
        } else if (event == PTRACE_EVENT_STOP && signal != SIGTRAP) {
            ::ptrace(PTRACE_LISTEN, pid, 0L, 0L); // a group-stop
        } else if (event != 0) {
            ::ptrace(PTRACE_SYSCALL, pid, 0L, 0L);
        } else if (signal == (SIGTRAP | 0x80)) {
            if (begun_) {
                entered(pid);
            }
            ::ptrace(PTRACE_SYSCALL, pid, 0L, 0L);
        } else {
            ::ptrace(PTRACE_SYSCALL, pid, 0L, static_cast<long>(signal));
        }
    }

    void entered(pid_t pid) {
        __ptrace_syscall_info info{};
        if (::ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) <= 0 ||
            info.op != PTRACE_SYSCALL_INFO_ENTRY) {
            return;
        }
        Arguments arguments{};
        for (std::size_t i = 0; i < arguments.size(); ++i) {
            arguments.at(i) = info.entry.args[i];
        }
        const Call call = state_changing(pid, static_cast<long>(info.entry.nr), arguments);
        if (call.name.empty() || call.object == "/dev/null") {
            return;
        }
        ++count_;
        const std::string what = call.name + (call.object.empty() ? "" : " " + steady(call.object));
        const std::string line =
            std::to_string(count_) + " " + std::to_string(index_[pid]) + " " + what;
        say(line);
        if (!plan_.record && plan_.words == what && ++seen_ == plan_.occurrence) {
            // At the entry: the call is not made. All threads of the process go, none of its
            // children.
            ::kill(pid, SIGKILL);
            say("killed " + line);
            done_ = true;
        }
    }

    Plan plan_;
    int log_;
    pid_t first_ = 0;
    bool begun_ = false;
    bool done_ = false;
    long count_ = 0;
    long seen_ = 0; ///< times that the plan's words came
    std::map<pid_t, int> index_;
};

Plan read_plan(const std::string& file) {
    Plan plan;
    std::ifstream in(file);
    std::string verb;
    if (in >> verb) {
        plan.record = verb == "record";
        if (verb == "kill") {
            in >> plan.role >> plan.invocation >> plan.occurrence;
            std::getline(in >> std::ws, plan.words);
        }
    }
    return plan;
}

/// TOOL.VERB.UID: what an invocation is.
std::string role_of(const std::string& tool, char** argv) {
    std::string verb = "door";
    for (int i = 1; argv[i] != nullptr; ++i) {
        const std::string word = argv[i];
        if (word == "--config" || word == "--tenant" || word == "--repo" || word == "--rev") {
            ++i;
        } else if (!word.empty() && word[0] != '-' && word.find('/') == std::string::npos) {
            verb = word;
            break;
        }
    }
    return tool + "." + verb.substr(0, verb.find(' ')) + "." + std::to_string(::geteuid());
}

/// The log of this invocation, whose number is the first that nobody has taken.
int open_log(const std::string& directory, const std::string& role, long& number) {
    for (number = 1; number < 10000; ++number) {
        const std::string file = directory + "/" + role + ":" + std::to_string(number);
        const int fd =
            ::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
        if (fd >= 0 || errno != EEXIST) {
            return fd;
        }
    }
    return -1;
}

/// Leaves a tracer behind, and returns once it watches.
void watch(const Plan& plan, int log) {
    std::array<int, 2> ready{};
    const pid_t tool = ::getpid();
    if (::pipe2(ready.data(), O_CLOEXEC) != 0) {
        return;
    }
    const pid_t middle = ::fork();
    if (middle == 0) {
        if (::fork() != 0) {
            ::_exit(0);
        }
        ::setsid();
        if (::chdir("/") != 0) {
            ::_exit(1);
        }
        const int kept = ::dup2(log, 0);
        const int sign = ::dup2(ready[1], 1);
        ::close_range(2, ~0U, 0);
        Tracer tracer(plan, kept);
        if (!tracer.seize(tool)) {
            ::_exit(1);
        }
        [[maybe_unused]] const ssize_t n = ::write(sign, "+", 1);
        ::close(sign);
        tracer.run();
        ::_exit(0);
    }
    ::close(ready[1]);
    ::waitpid(middle, nullptr, 0);
    char sign = 0;
    [[maybe_unused]] const ssize_t n = ::read(ready[0], &sign, 1);
    ::close(ready[0]);
}

} // namespace

int main(int, char** argv) {
    const std::string self = reinterpret_cast<const char*>(::getauxval(AT_EXECFN));
    const auto slash = self.rfind('/');
    const std::string tool = self.substr(slash + 1);
    const std::string top = self.substr(0, slash) + "/../..";
    const std::string real = self.substr(0, slash) + "/../real/" + tool;
    const Plan plan = read_plan(top + "/fault/plan");
    const std::string role = role_of(tool, argv);
    if (plan.record || plan.role == role) {
        long number = 0;
        const int log = open_log(top + "/fault/log", role, number);
        if (log >= 0 && (plan.record || plan.invocation == number)) {
            ::setenv("ASAN_OPTIONS", "detect_leaks=0", 1); // it would trace the traced
            watch(plan, log);
        }
        ::close(log);
    }
    ::execv(real.c_str(), argv);
    std::perror(real.c_str());
    return 126;
}
