// SPDX-License-Identifier: MIT
#include "roots.hpp"
#include "cache.hpp"

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/json.hpp>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace sky::cache {
namespace {

constexpr std::size_t kCap = 1U << 20U;
constexpr std::int64_t kTimeMost = std::int64_t{1} << 40;

} // namespace

Roots parse_roots(std::string_view text) {
    const auto value = parse_json(text, kCap, "gcroot");
    Fields top(value, "");
    static_cast<void>(top.integer("v", 1, 1));
    Roots roots;
    top.each("roots", [&](const Json& entry, const std::string& path) {
        Fields f(entry, path);
        roots.push_back({Revision::parse(f.string("rev")), StorePath::parse(f.string("deployment")),
                         f.integer("at", 0, kTimeMost)});
        f.done();
    });
    top.done();
    return roots;
}

std::string print_roots(const Roots& roots) {
    Json list = Json::array();
    for (const auto& root : roots) {
        list.push_back(
            {{"rev", root.rev.str()}, {"deployment", root.deployment.str()}, {"at", root.at}});
    }
    return dump_json({{"v", 1}, {"roots", std::move(list)}}) + "\n";
}

Roots with_root(Roots roots, Root root) {
    std::erase_if(roots, [&](const Root& old) { return old.rev == root.rev; });
    roots.insert(roots.begin(), std::move(root));
    if (roots.size() > kRootsMost) {
        roots.erase(roots.begin() + kRootsMost, roots.end());
    }
    return roots;
}

Roots load_roots(const std::filesystem::path& file) {
    const auto text = read_file_if_exists(file, kCap);
    try {
        return text ? parse_roots(*text) : Roots{};
    } catch (const Error& e) {
        fail(e.code(), "'{}': {} (remove it: older revisions lose their root)", file.string(),
             e.what());
    }
}

void save_roots(const std::filesystem::path& file, const Roots& roots) {
    make_own_directories(file.parent_path());
    atomic_write(file, print_roots(roots), {.mode = 0640});
}

} // namespace sky::cache
