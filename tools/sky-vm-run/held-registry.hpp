// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/registry-variables.hpp>
#include <sky/config.hpp>
#include <sky/lock.hpp>
#include <sky/registry.hpp>

#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

namespace sky::vm {

/// The registry of this configuration, held: nobody else changes it as long as this lives. On a
/// single host it is SHARED/registry.json; in a cluster it stands in Nomad's variables, and that
/// file is a copy for those who only look. For root alone.
class HeldRegistry {
  public:
    /// `who`: for those who wait meanwhile. Error(kBusy) naming who is at it, Error(kData), and
    /// Error(kUnavailable) when there is none though there are machines.
    HeldRegistry(const Config& config, std::string_view who);
    /// With these variables; nullptr: a single host.
    HeldRegistry(const Config& config, std::string_view who, std::unique_ptr<Variables> variables);

    /// As it is. Throws Error(kUnavailable) without contact to Nomad.
    [[nodiscard]] const Registry& now() const;
    /// As it is, or without contact to Nomad the copy.
    [[nodiscard]] const Registry& last_known() const noexcept { return registry_; }
    /// Makes `next` what it is, once; nothing to do when that is no change, then without contact,
    /// too. Mends a copy that is behind. Throws as now(), and as RegistryVariables::commit().
    void save(Registry next);
    /// Removes what of it counts no more. Throws as now().
    void sweep();

  private:
    void look();

    const Config& config_;
    Lock lock_;
    std::unique_ptr<Variables> variables_; ///< nothing: a single host
    std::optional<RegistryVariables::Head> head_;
    Registry registry_;
    bool behind_ = false; ///< the copy
    std::exception_ptr away_;
};

/// Holds the registry, has it changed and saves it. What `change` throws leaves it as it was.
/// Throws as HeldRegistry.
void change_registry(const Config& config, std::string_view who,
                     const std::function<void(Registry&)>& change);

/// The registry as it is, for who decides by it; without contact to Nomad the copy. Throws as
/// load_registry().
[[nodiscard]] Registry current_registry(const Config& config);
/// With these variables; nullptr: a single host.
[[nodiscard]] Registry current_registry(const Config& config, Variables* variables);

} // namespace sky::vm
