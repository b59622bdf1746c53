// SPDX-License-Identifier: MIT
#pragma once

#include <sky/json.hpp>

#include <functional>
#include <string_view>
#include <vector>

namespace sky::nomad {

/// Calls `f` with each object of the list `text`, one after the other, holding but its members
/// `keys`: a list of ten thousand jobs takes the room of one. null is an empty list. False: it is
/// no JSON, or no list of objects; `f` may have been called for what stood before.
[[nodiscard]] bool each_element(std::string_view text, const std::vector<std::string_view>& keys,
                                const std::function<void(const Json&)>& f);

} // namespace sky::nomad
