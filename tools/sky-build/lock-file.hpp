// SPDX-License-Identifier: MIT
#pragma once

#include <sky/json.hpp>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

/// flake.lock: which inputs a flake does not lock, and how the operator's take their place. Texts
/// only, all of them the tenant's.
namespace sky::build {

inline constexpr std::size_t kLockCap = std::size_t{4} << 20;

/// Root inputs of a lock file ("" is one without any): name to node name. Inputs that follow others
/// are left out. Throws Error(kData).
[[nodiscard]] std::map<std::string, std::string> root_inputs(std::string_view lock);

/// The root inputs of `after` that are not in `before` and were looked up in the registry by a name
/// in `known`. Throws Error(kData).
[[nodiscard]] std::vector<std::string> taken_from_registry(std::string_view before,
                                                           std::string_view after,
                                                           const std::set<std::string>& known);

/// What "original" in a lock file says for an input of flake.nix, a URL or a set of attributes: nix
/// takes a locked input for this one only while it does. Nothing for what names a commit itself,
/// follows another input, is looked up in the registry anyway, or has a form that we do not know.
[[nodiscard]] std::optional<Json> original_of(const Json& input);

/// Of flake.nix's `inputs` (JSON, name to URL or attributes) those that the operator's are to take
/// the place of: known by name and not in the lock file. With each its "original".
[[nodiscard]] std::map<std::string, Json> replaceable(const Json& inputs, std::string_view lock,
                                                      const std::set<std::string>& known);

/// The lock file with these as "original" of the root inputs. Throws Error(kData).
[[nodiscard]] std::string with_originals(std::string_view lock,
                                         const std::map<std::string, Json>& originals);

} // namespace sky::build
