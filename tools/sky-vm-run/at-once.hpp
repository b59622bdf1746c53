// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <future>
#include <type_traits>
#include <vector>

namespace sky::vm {

/// f(each) for all, in their order, up to eight at a time in threads of their own: for questions
/// that wait for somebody else. When one throws, the others come to their end first.
template <class In, class F>
auto at_once(const std::vector<In>& all, const F& f)
    -> std::vector<std::invoke_result_t<const F&, const In&>> {
    constexpr std::size_t kMost = 8;
    std::vector<std::invoke_result_t<const F&, const In&>> out;
    out.reserve(all.size());
    for (std::size_t begin = 0; begin < all.size(); begin += kMost) {
        std::vector<std::future<std::invoke_result_t<const F&, const In&>>> asked;
        for (std::size_t i = begin; i < std::min(begin + kMost, all.size()); ++i) {
            asked.push_back(std::async(std::launch::async, [&f, &all, i] { return f(all[i]); }));
        }
        for (auto& each : asked) { // their destructors wait
            out.push_back(each.get());
        }
    }
    return out;
}

} // namespace sky::vm
