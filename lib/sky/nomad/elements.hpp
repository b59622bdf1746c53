// SPDX-License-Identifier: MIT
#pragma once

#include <sky/json.hpp>

#include <functional>
#include <string_view>
#include <vector>

namespace sky::nomad {

/// Calls `f` with each object of the list `text`, one after the other, holding but its members
/// `keys`: a list of ten thousand jobs takes the room of one. null is an empty list. False: it is
/// no list of objects, not whole, or what is wanted no JSON; `f` may have been called for what
/// stood before. Of what is not wanted nothing is looked at but where it ends.
[[nodiscard]] bool each_element(std::string_view text, const std::vector<std::string_view>& keys,
                                const std::function<void(const Json&)>& f);

} // namespace sky::nomad
