// SPDX-License-Identifier: MIT
#pragma once

#include <sky/registry.hpp>

#include <functional>
#include <string_view>

namespace sky {

/// The registry of this configuration. Throws SysError, Error(kUnavailable) when it is gone,
/// Error(kData).
[[nodiscard]] Registry load_registry(const Config& config);

/// Reads the registry, has it changed and writes it if it differs: no other change comes in
/// between. What `change` throws leaves it as it was. `who`: for those who wait meanwhile. For root
/// alone. Throws as load_registry(), and Error(kBusy) naming who is at it.
void change_registry(const Config& config, std::string_view who,
                     const std::function<void(Registry&)>& change);

} // namespace sky
