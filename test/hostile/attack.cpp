// SPDX-License-Identifier: MIT
// What a shell can not do: single system calls of a hostile runner, a word each. Static, so that it
// runs anywhere. Ends with 0 when the call was let through, else says why not and ends with 1.
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <linux/if_tun.h>
#include <map>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <sched.h>
#include <string>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace {

using Arguments = std::vector<std::string>;

int verdict(long result) {
    if (result >= 0) {
        return 0;
    }
    std::perror("attack");
    return 1;
}

unsigned long number(const std::string& text) {
    return std::strtoul(text.c_str(), nullptr, 0);
}

ifreq request(const std::string& name) {
    ifreq out{};
    name.copy(static_cast<char*>(out.ifr_name), IFNAMSIZ - 1);
    return out;
}

/// Attaches the queue FD to the tap NAME, or makes it.
int tap(const Arguments& a) {
    ifreq wanted = request(a.at(1));
    wanted.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    if (a.size() > 2) {
        wanted.ifr_flags |= IFF_MULTI_QUEUE;
    }
    return verdict(::ioctl(static_cast<int>(number(a.at(0))), TUNSETIFF, &wanted));
}

int tap_mac(const Arguments& a) {
    ifreq wanted{};
    wanted.ifr_hwaddr.sa_family = ARPHRD_ETHER;
    auto* bytes = reinterpret_cast<unsigned char*>(wanted.ifr_hwaddr.sa_data);
    std::sscanf(a.at(1).c_str(), "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", bytes, bytes + 1, bytes + 2,
                bytes + 3, bytes + 4, bytes + 5);
    return verdict(::ioctl(static_cast<int>(number(a.at(0))), SIOCSIFHWADDR, &wanted));
}

int packet(const Arguments&) {
    return verdict(::socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)));
}

/// A path, or @NAME: abstract.
socklen_t unix_address(sockaddr_un& to, const std::string& name) {
    to.sun_family = AF_UNIX;
    name.copy(static_cast<char*>(to.sun_path), sizeof to.sun_path - 1);
    if (name.at(0) == '@') {
        to.sun_path[0] = 0;
        return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    }
    return sizeof to;
}

int connect_unix(const Arguments& a) {
    sockaddr_un to{};
    const socklen_t size = unix_address(to, a.at(0));
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    return verdict(::connect(fd, reinterpret_cast<sockaddr*>(&to), size));
}

/// Listens and says a line for each who comes.
int listen_unix(const Arguments& a) {
    sockaddr_un at{};
    const socklen_t size = unix_address(at, a.at(0));
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    if (::bind(fd, reinterpret_cast<sockaddr*>(&at), size) != 0 || ::listen(fd, 8) != 0) {
        return verdict(-1);
    }
    for (std::puts("ready"), std::fflush(stdout);;) {
        ::close(::accept(fd, nullptr, nullptr));
        std::puts("somebody came");
        std::fflush(stdout);
    }
}

int family(const Arguments& a) {
    return verdict(
        ::socket(static_cast<int>(number(a.at(0))), static_cast<int>(number(a.at(1))), 0));
}

int kill_process(const Arguments& a) {
    return verdict(::kill(static_cast<pid_t>(number(a.at(0))), static_cast<int>(number(a.at(1)))));
}

int trace(const Arguments& a) {
    return verdict(::ptrace(PTRACE_SEIZE, static_cast<pid_t>(number(a.at(0))), nullptr, nullptr));
}

/// By clone, clone3 or unshare: the flags of new namespaces in hexadecimal.
int namespaces(const Arguments& a) {
    const unsigned long flags = number(a.at(1));
    long pid = 0;
    if (a.at(0) == "unshare") {
        return verdict(::unshare(static_cast<int>(flags)));
    }
    if (a.at(0) == "clone") {
        pid = ::syscall(SYS_clone, flags | SIGCHLD, nullptr, nullptr, nullptr, nullptr);
    } else {
        std::array<std::uint64_t, 8> arguments{flags, 0, 0, 0, SIGCHLD};
        pid = ::syscall(SYS_clone3, arguments.data(), sizeof arguments);
    }
    if (pid == 0) {
        ::_exit(0);
    }
    return verdict(pid);
}

int enter(const Arguments& a) {
    const int fd = ::open(a.at(0).c_str(), O_RDONLY);
    return verdict(fd < 0 ? fd : ::setns(fd, 0));
}

/// As many processes as it is let have, at most N.
int forks(const Arguments& a) {
    unsigned long made = 0;
    ::setpgid(0, 0);
    while (made < number(a.at(0))) {
        const pid_t pid = ::fork();
        if (pid < 0) {
            break;
        }
        if (pid == 0) {
            ::pause();
            ::_exit(0);
        }
        ++made;
    }
    std::printf("%lu\n", made);
    ::signal(SIGTERM, SIG_IGN);
    ::kill(0, SIGTERM);
    return 0;
}

/// N MiB, each page of them.
int eat(const Arguments& a) {
    const std::size_t size = number(a.at(0)) << 20U;
    void* memory =
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return verdict(-1);
    }
    std::memset(memory, 1, size);
    return 0;
}

/// N processes with as many descriptors as each may have.
int descriptors(const Arguments& a) {
    for (unsigned long i = 0; i < number(a.at(0)); ++i) {
        const pid_t pid = ::fork();
        if (pid == 0) {
            while (::dup(2) >= 0) {
            }
            ::pause();
            ::_exit(0);
        }
    }
    return 0;
}

/// The rest as a command that gets no privileges by exec.
int tame(const Arguments& a) {
    std::vector<char*> command;
    for (const auto& word : a) {
        command.push_back(const_cast<char*>(word.c_str()));
    }
    command.push_back(nullptr);
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return verdict(::execv(command.at(0), command.data()));
}

int who(const Arguments&) {
    std::printf("%u\n", ::geteuid());
    return 0;
}

void serve(int fd, const std::string& manner) {
    const std::string word = "{\"return\":{\"status\":\"running\"}}\r\n";
    const std::string noise(65536, 'x');
    std::array<char, 4096> heard{};
    if (manner == "flood") {
        while (::send(fd, noise.data(), noise.size(), MSG_NOSIGNAL) > 0) {
        }
    }
    while (::read(fd, heard.data(), heard.size()) > 0) {
        if (manner == "honest") {
            static_cast<void>(::send(fd, word.data(), word.size(), MSG_NOSIGNAL));
        } else if (manner == "lie") {
            const std::string lie = "{\"return\":{\"status\":\"\\u001b[2Jevil\"}}\r\n";
            static_cast<void>(::send(fd, lie.data(), lie.size(), MSG_NOSIGNAL));
        }
    }
}

/// A monitor at PATH: honest, silent, flood, lie, deaf (takes nobody and has no room to wait in).
int monitor(const Arguments& a) {
    sockaddr_un at{};
    const socklen_t size = unix_address(at, a.at(0));
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    ::unlink(a.at(0).c_str());
    if (::bind(fd, reinterpret_cast<sockaddr*>(&at), size) != 0 || ::listen(fd, 0) != 0) {
        return verdict(-1);
    }
    ::signal(SIGCHLD, SIG_IGN);
    if (a.at(1) == "deaf") {
        for (int i = 0; i < 4; ++i) {
            const int mine = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
            static_cast<void>(::connect(mine, reinterpret_cast<sockaddr*>(&at), size));
        }
        ::pause();
    }
    for (;;) {
        const int peer = ::accept(fd, nullptr, nullptr);
        if (::fork() == 0) {
            serve(peer, a.at(1));
            ::_exit(0);
        }
        ::close(peer);
    }
}

} // namespace

int main(int argc, char** argv) {
    const std::map<std::string_view, std::function<int(const Arguments&)>> words{
        {"tap", tap},
        {"tap-mac", tap_mac},
        {"packet", packet},
        {"connect", connect_unix},
        {"listen", listen_unix},
        {"family", family},
        {"kill", kill_process},
        {"trace", trace},
        {"namespaces", namespaces},
        {"enter", enter},
        {"forks", forks},
        {"eat", eat},
        {"descriptors", descriptors},
        {"tame", tame},
        {"who", who},
        {"monitor", monitor},
    };
    const auto word = argc > 1 ? words.find(argv[1]) : words.end();
    if (word == words.end()) {
        return 64;
    }
    return word->second(Arguments(argv + 2, argv + argc));
}
