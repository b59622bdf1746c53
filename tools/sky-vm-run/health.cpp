// SPDX-License-Identifier: MIT
#include <sky-vm-run/health.hpp>

#include <sky-vm-run/console.hpp>
#include <sky-vm-run/lookout.hpp>
#include <sky-vm-run/network.hpp>
#include <sky-vm-run/processes.hpp>
#include <sky-vm-run/qmp.hpp>

#include <sky/error.hpp>
#include <sky/json.hpp>
#include <sky/lines.hpp>
#include <sky/log.hpp>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

namespace sky::vm {

bool answers(const Vm& vm, const Running& running, std::chrono::milliseconds limit) {
    const auto& spec = running.spec;
    switch (spec.ready.type) {
    case Spec::Ready::Type::kTcp:
        return !running.address.empty() &&
               tcp_answers(running.address.front(), spec.ready.port, limit);
    case Spec::Ready::Type::kNotify:
        return read_file_if_exists(vm.files.notified(), kNotification.size()) == kNotification;
    case Spec::Ready::Type::kNone:
        break;
    }
    return spec.hypervisor != "qemu" || qmp_ask(vm, QmpAsk::kStatus) == "running";
}

std::string not_ready(const Spec& spec) {
    switch (spec.ready.type) {
    case Spec::Ready::Type::kTcp:
        return fmt::format("port {} did not answer within {} s", spec.ready.port, spec.ready_s);
    case Spec::Ready::Type::kNotify:
        return fmt::format("it did not say {} on its console within {} s", kNotification,
                           spec.ready_s);
    case Spec::Ready::Type::kNone:
        break;
    }
    return fmt::format("the hypervisor did not answer within {} s", spec.ready_s);
}

bool lost_share(const Running& running, int guard) {
    const auto gone = [&] {
        return processes_of(running.uid + static_cast<uid_t>(MachineUid::kVirtiofsd), 1).empty();
    };
    if (running.spec.store != Spec::Store::kVirtiofs || !gone()) {
        return false;
    }
    return !readable(guard, std::chrono::seconds(1)) && gone();
}

bool lacks_room(const Vm& vm, const Running& running) {
    constexpr std::uintmax_t kLittle = std::uintmax_t{16} << 20U;
    const auto& disks = running.spec.volumes;
    return std::any_of(disks.begin(), disks.end(), [&](const Spec::Disk& disk) {
        const auto at = vm.config.volumes.classes.find(disk.storage_class);
        std::error_code error;
        return at != vm.config.volumes.classes.end() &&
               std::filesystem::space(vm.state.volumes(vm.path, at->second.kind), error).available <
                   kLittle &&
               !error;
    });
}

bool storage_is_silent(const Vm& vm) {
    constexpr std::chrono::seconds kLong{15}; // it is asked every three
    return silence(vm.files.answered()).value_or(std::chrono::nanoseconds(0)) > kLong;
}

void publish(const Vm& vm, const StateLine& line) {
    try {
        save_state(vm, line);
    } catch (const Error& e) { // the machine matters more than what is said about it
        log::error("{}", e.what());
    }
    log::info("{}{}{}", line.state, line.why.empty() ? "" : ": ", line.why);
    if (!vm.config.nomad) {
        return;
    }
    try {
        const auto file = vm.state.said(vm.path, vm.config.host);
        make_directories(file.parent_path(), 02750); // of the group of states/, by its setgid bit
        atomic_write(file, dump_json(line.json(false)) + "\n", {.mode = 0640, .durable = false});
    } catch (const Error& e) {
        log::warn("what became of it is not to be seen elsewhere: {}", e.what());
    }
}

} // namespace sky::vm
