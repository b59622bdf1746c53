// SPDX-License-Identifier: MIT
#pragma once

namespace sky {

/// std::unique_ptr's deleter for what a C library hands out:
/// std::unique_ptr<git_tree, Freed<git_tree_free>>.
template <auto Free>
struct Freed {
    template <typename T>
    void operator()(T* object) const noexcept {
        static_cast<void>(Free(object));
    }
};

} // namespace sky
