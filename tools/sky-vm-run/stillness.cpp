// SPDX-License-Identifier: MIT
#include <sky-vm-run/stillness.hpp>

#include <sky-vm-run/outline.hpp>
#include <sky-vm-run/volume.hpp>

#include <sky/error.hpp>
#include <sky/log.hpp>
#include <sky/state.hpp>

#include <chrono>
#include <exception>

namespace sky::vm {
namespace {

using std::chrono::seconds;

[[noreturn]] void busy(const MachinePath& path) {
    fail(ExitCode::kBusy, "machine '{}' runs (stop it first)", path.text());
}

Lock prepared(const Vm& vm, const std::string& who) {
    make_directories(vm.files.base(), 0711);
    return Lock::take(vm.files.lock(), who, seconds(5));
}

/// One that has said that the machine stopped is about to let go.
Lock supervisor(const Vm& vm, const std::string& who) {
    if (glance_at(vm).pid != 0) {
        busy(vm.path);
    }
    return Lock::take(vm.files.supervisor_lock(), who, seconds(5));
}

} // namespace

Stillness::Stillness(const Config& config, const MachinePath& path, bool elsewhere,
                     const std::string& who)
    : vm_(config, path), change_(prepared(vm_, who)), supervisor_(supervisor(vm_, who)),
      store_(owner_store(config, path, vm_.files.owner(), seconds(10))),
      ownership_(*store_, claimant(config, ""), {.own = vm_.state.deadline()}) {
    const auto record = store_->read();
    if (glance_at(vm_).pid != 0 ||
        (record && record->owner.host != config.host && !record->owner.released)) {
        busy(path);
    }
    if (elsewhere && config.nomad) {
        volume_ = Lock::take(vm_.files.volume_lock(), who, seconds(5));
        if (!ownership_.hold()) {
            busy(path);
        }
        held_ = true;
    }
}

Stillness::~Stillness() {
    try {
        if (held_) {
            settle_volumes(vm_.config, vm_.path);
            static_cast<void>(ownership_.release());
        }
    } catch (const std::exception& e) { // this host gives it up when it is asked
        log::warn("the owner record still says that this host has it: {}", e.what());
    }
}

void Stillness::end() const {
    if (held_ && held_lease(vm_.state.deadline()) != ownership_.lease()) {
        fail(ExitCode::kUnavailable,
             "this host has lost its lease meanwhile: another may have had the volume open "
             "(look at it before the machine starts)");
    }
}

} // namespace sky::vm
