// SPDX-License-Identifier: MIT
#include <sky-vm-run/boot.hpp>

#include <sky-vm-run/fetch.hpp>
#include <sky-vm-run/network.hpp>
#include <sky-vm-run/processes.hpp>
#include <sky-vm-run/teardown.hpp>
#include <sky-vm-run/volume.hpp>

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/json.hpp>
#include <sky/lines.hpp>
#include <sky/log.hpp>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <future>
#include <sys/syscall.h>
#include <unistd.h>

namespace sky::vm {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr seconds kSandboxLimit{60};  ///< mounts of a thousand paths on a busy host
constexpr seconds kAttachLimit{60};   ///< from exec to the hypervisor's open taps
constexpr milliseconds kFirstNap{10}; ///< between two looks at its taps
constexpr milliseconds kLongestNap{50};

pid_t read_pid(int fd, const char* what) {
    const auto line = LineReader(fd, 32).next(milliseconds(kSandboxLimit));
    pid_t pid = 0;
    if (line) {
        std::from_chars(line->data(), line->data() + line->size(), pid);
    }
    if (pid <= 0) {
        fail(ExitCode::kSystem, "{} did not start (see supervisor.log)", what);
    }
    return pid;
}

void fetch(const Vm& vm, const Spec& spec, const BootHooks& hooks) {
    Pipe said = make_pipe();
    Child child = vm.self("fetch", {spec.rev.str()}).err(said.write.get()).spawn();
    said.write.reset();
    const Fd ended = child.pidfd();
    while (!hooks.wait(ended.get(), seconds(3600))) {
    }
    const int ended_with = child.wait();
    if (ended_with != 0) {
        std::string text = read_all(said.read.get(), 1U << 16U, "fetch");
        const std::string_view prefix = "sky-vm-run: error: ";
        const auto at = text.rfind(prefix);
        text = at == std::string::npos ? "fetching failed" : text.substr(at + prefix.size());
        // A signal is nobody's verdict on what was fetched.
        const bool said_why =
            ended_with >= code(ExitCode::kUsage) && ended_with <= code(ExitCode::kConfig);
        throw Error(said_why ? static_cast<ExitCode>(ended_with) : ExitCode::kSystem,
                    printable(text.substr(0, text.find('\n')), 200));
    }
}

/// A process that waits for its byte: it ends by itself if we do before that is written.
struct Held {
    pid_t pid = 0;
    Fd go;

    void let_go() const { write_all(go.get(), "!"); }
};

Held launch(const Vm& vm, const char* verb, const char* what) {
    Pipe go = make_pipe();
    Pipe report = make_pipe();
    Child launcher = vm.self(verb).in(go.read.get()).out(report.write.get()).spawn();
    go.read.reset();
    report.write.reset();
    const pid_t pid = read_pid(report.read.get(), what);
    static_cast<void>(launcher.wait());
    return {pid, std::move(go.write)};
}

/// A hypervisor whose virtiofsd never came ends as if by a fault of its own.
void wait_for_share(const Running& running, pid_t pid) {
    const Fd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    const auto served = [&] { // it has its uid once its view stands
        return !processes_of(running.uid + static_cast<uid_t>(MachineUid::kVirtiofsd), 1).empty();
    };
    auto nap = kFirstNap;
    for (const auto end = Clock::now() + kAttachLimit; !served();
         nap = std::min(nap * 2, kLongestNap)) {
        if (!process || readable(process.get(), nap) || Clock::now() > end) {
            fail(ExitCode::kSystem, "virtiofsd ended at once (see share.log)");
        }
    }
}

/// False when the machine died meanwhile: the supervisor sees that too, and how.
bool wait_for_queues(const Running& running, int guard, const BootHooks& hooks) {
    const auto end = Clock::now() + kAttachLimit;
    auto nap = kFirstNap;
    std::size_t queues = 0;
    for (const auto& interface : running.spec.interfaces) {
        queues += interface.queues;
    }
    while (attached_queues(running.guard) < queues) {
        if (hooks.wait(guard, nap)) {
            return false;
        }
        nap = std::min(nap * 2, kLongestNap);
        if (Clock::now() > end) {
            fail(ExitCode::kSystem, "the hypervisor did not open its taps within {} s",
                 kAttachLimit.count());
        }
    }
    return true;
}

void save(const Vm& vm, const Running& running) {
    atomic_write(vm.files.running(), running.dump());
}

} // namespace

Registry::Machine prepare(const Vm& vm, const Spec& spec, const BootHooks& hooks) {
    hooks.tell("fetching", "");
    check_storage(vm.config);
    Registry::Machine entry = vm.entry();
    check_spec(spec, vm.config, entry);
    check_record(spec, load_record(vm.config.shared, vm.path, spec.rev));
    need_room(vm.files.base(), kStartRoom);
    check_volumes(vm.config, spec, entry);
    fetch(vm, spec, hooks);
    return entry;
}

Running boot(const Vm& vm, const BootOrder& order, const BootHooks& hooks) {
    const Spec& spec = order.spec;
    const Registry::Machine entry = prepare(vm, spec, hooks);
    hooks.tell("starting", "");
    sweep(vm);
    attach_volumes(vm.config, spec, entry.uid, order.former);
    Running running{.spec = spec,
                    .serial = order.serial,
                    .generation = order.generation,
                    .alloc = order.alloc,
                    .lease = order.lease,
                    .uid = entry.uid,
                    .guard = 0,
                    .guard_start = 0,
                    .begun = false,
                    .since = now_text(),
                    .address = {}};
    for (const auto& interface : spec.interfaces) {
        const auto at = entry.addresses.find(interface.network.str());
        if (at != entry.addresses.end()) {
            running.address.push_back(at->second);
        }
    }
    save(vm, running);
    make_cgroups(cgroup_host(vm.config.prefix), vm.cgroups(spec));
    make_directories(vm.files.socks(), 0711);
    const Held sandbox = launch(vm, "guard", "the sandbox");
    const auto alive = alive_of(running.uid);
    const auto guard = alive.guard ? pidfd_of(*alive.guard) : std::nullopt;
    if (!guard || alive.guard->pid != sandbox.pid) {
        fail(ExitCode::kSystem, "the guard ended at once (see supervisor.log)");
    }
    // Both need the sandbox, and neither the other.
    auto network = std::async(std::launch::async, [&] { net_setup(vm, "up", spec, sandbox.pid); });
    if (spec.store == Spec::Store::kVirtiofs) {
        const Held share = launch(vm, "share", "virtiofsd");
        share.let_go();
        wait_for_share(running, share.pid);
    }
    network.get();
    running.guard = sandbox.pid;
    running.guard_start = alive.guard->start;
    running.begun = true;
    save(vm, running);
    // The guard stands, so whoever ends machines finds it; its volumes are open.
    hooks.confirm(volume_clients(vm.config, spec));
    sandbox.let_go();
    attach_taps(vm, running, guard->get(), hooks);
    return running;
}

void attach_taps(const Vm& vm, const Running& running, int guard, const BootHooks& hooks) {
    if (!running.spec.interfaces.empty() && wait_for_queues(running, guard, hooks)) {
        net_setup(vm, "attach", running.spec, running.guard);
    }
}

int fetch_verb(const Config& config, const MachinePath& machine, const Revision& rev) {
    const State state(config);
    fetch_closure(load_record(config.shared, machine, rev), state.cache(machine.tenant),
                  state.store(machine.tenant));
    return 0;
}

} // namespace sky::vm
