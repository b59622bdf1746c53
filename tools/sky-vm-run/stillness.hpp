// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/owner-store.hpp>
#include <sky-vm-run/ownership.hpp>
#include <sky-vm-run/vm.hpp>
#include <sky/config.hpp>
#include <sky/lock.hpp>
#include <sky/name.hpp>

#include <memory>
#include <optional>
#include <string>

namespace sky::vm {

/// Nothing of the machine lives, here or elsewhere, nor begins as long as this lives: here by the
/// locks, elsewhere by the owner record, if other hosts can open the volume. For changes of volumes
/// that no writer may see.
class Stillness {
  public:
    /// `who`: for those who wait meanwhile. Error(kBusy) when the machine runs or somebody is at
    /// it, Error(kUnavailable) without contact to Nomad where `elsewhere` is asked for.
    Stillness(const Config& config, const MachinePath& path, bool elsewhere,
              const std::string& who);
    Stillness(const Stillness&) = delete;
    Stillness& operator=(const Stillness&) = delete;
    ~Stillness();

    /// Error(kUnavailable) if another host may have had it since.
    void end() const;

  private:
    Vm vm_;
    Lock change_;
    Lock supervisor_;
    std::unique_ptr<OwnerStore> store_;
    Ownership ownership_;
    std::optional<Lock> volume_;
    bool held_ = false;
};

} // namespace sky::vm
