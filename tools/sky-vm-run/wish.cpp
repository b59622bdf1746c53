// SPDX-License-Identifier: MIT
#include <sky-vm-run/wish.hpp>

#include <sky-vm-run/boot.hpp>
#include <sky-vm-run/follow.hpp>
#include <sky-vm-run/processes.hpp>

#include <sky/error.hpp>
#include <sky/json.hpp>
#include <sky/lock.hpp>

#include <nlohmann/json.hpp>
#include <unistd.h>

namespace sky::vm {

bool lives(const Vm& vm) {
    const auto running = load<Running>(vm.files.running());
    return running && alive_of(running->uid).guard.has_value();
}

std::uint64_t wish(const Vm& vm, bool running, bool anew, const Spec* spec) {
    make_directories(vm.files.base(), 0711);
    if (running) {
        need_room(vm.files.base(), kStartRoom);
    }
    const Lock lock =
        Lock::take(vm.files.lock(), fmt::format("sky-vm-run, pid {}", ::getpid()), kChangeLimit);
    Want want = load<Want>(vm.files.want()).value_or(Want{});
    const auto started = load<Running>(vm.files.running());
    auto before = load<Spec>(vm.files.spec());
    if (!before && started) { // damaged, which is no reason to restart
        before = started->spec;
    }
    const bool same = spec == nullptr || (before && before->hash() == spec->hash());
    auto state = load<StateLine>(vm.files.state());
    if (state && state->state == "ready" && !supervised(vm)) {
        // What a dead supervisor said last is no answer to this request.
        state->state = "running";
        save_state(vm, *state);
    }
    const bool under_way = (started && started->serial == want.serial && lives(vm)) ||
                           (state && state->serial == want.serial &&
                            (state->state == "fetching" || state->state == "starting"));
    if (anew || want.running != running || !same || (running && !under_way)) {
        ++want.serial;
    }
    want.running = running;
    if (spec != nullptr) {
        atomic_write(vm.files.spec(), spec->dump() + "\n");
    }
    atomic_write(vm.files.want(), want.dump());
    return want.serial;
}

} // namespace sky::vm
