// SPDX-License-Identifier: MIT
#include <sky-vm-run/cut-plan.hpp>

#include <algorithm>
#include <fmt/format.h>

namespace sky::vm {
namespace {

constexpr std::size_t kMostAddress = 80;
constexpr std::string_view kDigits = "0123456789";

bool digits(std::string_view text) {
    return !text.empty() && text.find_first_not_of(kDigits) == std::string_view::npos;
}

} // namespace

CutStep plan_cut(const std::vector<std::string>& recorded, std::string_view host,
                 const std::vector<ImageUse>& seen, const std::set<std::string>& cut_off) {
    CutStep step;
    std::set<std::string> done = cut_off;
    const auto cut = [&](const std::string& address, std::string evidence) {
        if (done.insert(address).second) {
            step.cut.push_back({address, std::move(evidence)});
        }
    };
    for (const auto& address : recorded) {
        cut(address, fmt::format("the owner record has it, of {}", host));
    }
    for (const auto& use : seen) {
        for (const auto& locker : use.lockers) {
            cut(locker.address, fmt::format("it holds the lock of {}", use.image));
        }
        for (const auto& address : use.watchers) {
            cut(address, fmt::format("it watches {}", use.image));
        }
    }
    if (!step.cut.empty()) {
        return step;
    }
    step.wait = std::any_of(seen.begin(), seen.end(),
                            [](const ImageUse& use) { return !use.watchers.empty(); });
    return step;
}

bool is_client_address(std::string_view text) {
    const auto slash = text.rfind('/');
    if (text.size() > kMostAddress || slash == std::string_view::npos ||
        !digits(text.substr(slash + 1))) {
        return false;
    }
    const auto colon = text.rfind(':', slash);
    if (colon == std::string_view::npos || colon == 0 ||
        !digits(text.substr(colon + 1, slash - colon - 1))) {
        return false;
    }
    const auto ip = text.substr(0, colon);
    const bool six = ip.front() == '[' && ip.back() == ']' && ip.size() > 2;
    const auto inner = six ? ip.substr(1, ip.size() - 2) : ip;
    return inner.find_first_not_of(six ? "0123456789abcdef:." : "0123456789.") ==
           std::string_view::npos;
}

} // namespace sky::vm
