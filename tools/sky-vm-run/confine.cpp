// SPDX-License-Identifier: MIT
#include <sky-vm-run/confine.hpp>

#include <sky/error.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace sky::vm {
namespace {

#if defined(__x86_64__)
constexpr std::uint32_t kArch = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kArch = AUDIT_ARCH_AARCH64;
#else
#error "the system call filter does not know this architecture"
#endif
constexpr std::uint32_t kX32Bit = 0x40000000;
constexpr std::uint32_t kDeny = SECCOMP_RET_ERRNO | EPERM;
constexpr std::uint32_t kAbsent = SECCOMP_RET_ERRNO | ENOSYS;
constexpr std::uint32_t kNoFamily = SECCOMP_RET_ERRNO | EAFNOSUPPORT;

sock_filter statement(unsigned code, std::uint32_t value) {
    return {static_cast<std::uint16_t>(code), 0, 0, value};
}

sock_filter jump(unsigned code, std::uint32_t value, std::uint8_t yes, std::uint8_t no) {
    return {static_cast<std::uint16_t>(BPF_JMP | code | BPF_K), yes, no, value};
}

sock_filter load(std::size_t offset) {
    return statement(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset));
}

sock_filter answer(std::uint32_t value) {
    return statement(BPF_RET | BPF_K, value);
}

void check(int result, const char* what) {
    if (result != 0) {
        fail_errno("cannot {}", what);
    }
}

void set_capabilities(std::uint64_t wanted) {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> data{};
    data[0].effective = data[0].permitted = static_cast<std::uint32_t>(wanted);
    data[1].effective = data[1].permitted = static_cast<std::uint32_t>(wanted >> 32U);
    check(static_cast<int>(::syscall(SYS_capset, &header, data.data())), "drop capabilities");
}

void drop_bounding() {
    check(::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "clear ambient capabilities");
    for (unsigned long cap = 0; ::prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; ++cap) {
        check(::prctl(PR_CAPBSET_DROP, cap, 0, 0, 0), "drop a capability from the bounding set");
    }
}

void change_ids(const Identity& who) {
    check(::setgroups(who.groups.size(), who.groups.data()), "set groups");
    check(::setresgid(who.uid, who.uid, who.uid), "set the group");
    check(::setresuid(who.uid, who.uid, who.uid), "set the user");
}

/// Where argument `n` of a call is: its low half, which is first.
constexpr std::size_t argument(std::size_t n) {
    return offsetof(seccomp_data, args) + n * sizeof(std::uint64_t);
}

} // namespace

std::vector<sock_filter> call_filter() {
    std::vector<sock_filter> f{
        load(offsetof(seccomp_data, arch)),
        jump(BPF_JEQ, kArch, 1, 0),
        answer(SECCOMP_RET_KILL_PROCESS),
        load(offsetof(seccomp_data, nr)),
    };
#if defined(__x86_64__)
    f.push_back(jump(BPF_JGE, kX32Bit, 0, 1));
    f.push_back(answer(SECCOMP_RET_KILL_PROCESS));
#endif
    const auto on = [&](long call, const std::vector<sock_filter>& body) {
        const auto size = static_cast<std::uint8_t>(body.size());
        f.push_back(jump(BPF_JEQ, static_cast<std::uint32_t>(call), 0, size));
        f.insert(f.end(), body.begin(), body.end());
    };
    const sock_filter allow = answer(SECCOMP_RET_ALLOW);
    const std::vector<sock_filter> no_user{load(argument(0)), jump(BPF_JSET, CLONE_NEWUSER, 0, 1),
                                           answer(kDeny), allow};
    on(SYS_clone, no_user);
    on(SYS_unshare, no_user);
    on(SYS_clone3, {answer(kAbsent)});
    on(SYS_setns, {answer(kDeny)});
    on(SYS_socket,
       {load(argument(0)), jump(BPF_JEQ, AF_UNIX, 4, 0), jump(BPF_JEQ, AF_INET, 3, 0),
        jump(BPF_JEQ, AF_INET6, 2, 0), jump(BPF_JEQ, AF_NETLINK, 1, 0), answer(kNoFamily), allow});
    on(SYS_ioctl, {load(argument(1)), jump(BPF_JEQ, SIOCSIFHWADDR, 0, 1), answer(kDeny), allow});
    f.push_back(allow);
    return f;
}

void filter_calls() {
    auto filter = call_filter();
    const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
    check(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "set no_new_privs");
    check(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0), "set the call filter");
}

void unshare_all() {
    check(::unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWCGROUP |
                    CLONE_NEWPID),
          "make namespaces");
}

void become(const Identity& who) {
    // The keys of whoever started us are not for it. A kernel without keyrings says ENOSYS.
    static_cast<void>(::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr));
    drop_bounding();
    change_ids(who);
    set_capabilities(0);
}

void become_starter(const Identity& who) {
    check(::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), "keep capabilities");
    change_ids(who);
    constexpr std::uint64_t kKept = (std::uint64_t{1} << CAP_SETUID) |
                                    (std::uint64_t{1} << CAP_SETGID) |
                                    (std::uint64_t{1} << CAP_SETPCAP);
    set_capabilities(kKept);
    check(::prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0), "keep no capabilities");
}

void drop_rest() {
    drop_bounding();
    set_capabilities(0);
}

void die_with(pid_t parent) {
    check(::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "watch the parent");
    if (::getppid() != parent) {
        fail(ExitCode::kBusy, "who started this has gone");
    }
}

void limit_resources(unsigned long files) {
    const rlimit none{0, 0};
    rlimit some{};
    check(::getrlimit(RLIMIT_NOFILE, &some), "read the limit of descriptors");
    some.rlim_max = std::min<rlim_t>(some.rlim_max, files); // a container's root can not raise it
    some.rlim_cur = some.rlim_max;
    check(::setrlimit(RLIMIT_CORE, &none), "limit core files");
    check(::setrlimit(RLIMIT_NOFILE, &some), "limit descriptors");
}

void limit_file_size(unsigned long bytes) {
    const rlimit some{bytes, bytes};
    check(::setrlimit(RLIMIT_FSIZE, &some), "limit the size of files");
    ::signal(SIGXFSZ, SIG_IGN);
}

} // namespace sky::vm
