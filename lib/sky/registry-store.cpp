// SPDX-License-Identifier: MIT
#include <sky/config.hpp>
#include <sky/lock.hpp>
#include <sky/privilege.hpp>
#include <sky/registry-store.hpp>

#include <chrono>

namespace sky {
namespace {

constexpr std::chrono::seconds kPatience{20}; ///< a change takes milliseconds, but on a full disk

} // namespace

Registry load_registry(const Config& config) {
    return load_registry(config.shared);
}

void change_registry(const Config& config, std::string_view who,
                     const std::function<void(Registry&)>& change) {
    const Lock lock = Lock::take(config.shared / "registry.lock", who, kPatience);
    const Registry before = load_registry(config);
    Registry registry = before;
    change(registry);
    if (registry != before) {
        save_registry(config.shared, registry, account(config.accounts.deploy).gid);
    }
}

} // namespace sky
