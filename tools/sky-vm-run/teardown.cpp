// SPDX-License-Identifier: MIT
#include <sky-vm-run/teardown.hpp>

#include <sky-vm-run/network.hpp>
#include <sky-vm-run/processes.hpp>
#include <sky-vm-run/qmp.hpp>

#include <sky/error.hpp>
#include <sky/lines.hpp>
#include <sky/log.hpp>

#include <csignal>
#include <sys/syscall.h>
#include <unistd.h>

namespace sky::vm {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

void sweep(const Vm& vm) {
    const auto running = load<Running>(vm.files.running());
    if (running) {
        kill_block(running->uid, std::chrono::seconds(10));
        net_setup(vm, "down", running->spec, 0);
    }
    ::unlink((vm.files.socks() / "store.sock").c_str());
    remove_cgroups(vm.cgroups());
    ::unlink(vm.files.running().c_str());
}

bool stop_machine(const Vm& vm, const Running& running) {
    const auto alive = alive_of(running.uid);
    const auto guard = alive.guard ? pidfd_of(*alive.guard) : std::nullopt;
    const auto begin = Clock::now();
    const StopPlan plan = plan_stop(std::chrono::seconds(running.spec.stop_s));
    const auto past = [&] {
        return std::chrono::duration_cast<milliseconds>(Clock::now() - begin);
    };
    bool ended = !guard;
    // A guest that has not booted yet ignores the button: press it again.
    while (!ended && past() < plan.terminate_at) {
        const auto again = past() + StopPlan::kAgain;
        static_cast<void>(
            qmp_ask(vm, QmpAsk::kPowerdown, std::min(kQmpLimit, plan.terminate_at - past())));
        ended = readable(guard->get(),
                         std::max(milliseconds(1), std::min(again, plan.terminate_at) - past()));
    }
    const bool gracefully = ended;
    if (!ended) {
        log::warn("'{}' did not shut down within {} s: terminating it", vm.path.text(),
                  std::chrono::duration_cast<std::chrono::seconds>(plan.terminate_at).count());
        signal_uid(running.uid, SIGTERM);
        ended = readable(guard->get(), std::max(milliseconds(1), plan.kill_at - past()));
    }
    if (!ended) {
        ::syscall(SYS_pidfd_send_signal, guard->get(), SIGKILL, nullptr, 0);
    }
    sweep(vm);
    return gracefully;
}

} // namespace sky::vm
