// SPDX-License-Identifier: MIT
#include <sky-build/memo.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/hash.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <vector>

namespace sky::build {

namespace {
constexpr std::size_t kCap = std::size_t{16} << 20; // a closure of some thousand paths
}

std::filesystem::path Memo::file(std::string_view kind, std::string_view key) const {
    return directory_ / fmt::format("{}-{}.json", kind, nix32(sha256(key)));
}

std::optional<Json> Memo::get(std::string_view kind, std::string_view key) const {
    try {
        const auto text = read_file_if_exists(file(kind, key), kCap);
        if (!text) {
            return std::nullopt;
        }
        return parse_json(*text, kCap, "memo");
    } catch (const Error&) {
        return std::nullopt;
    }
}

void Memo::put(std::string_view kind, std::string_view key, const Json& value) const {
    atomic_write(file(kind, key), dump_json(value) + "\n", {.durable = false});
}

void Memo::prune(std::size_t most) const {
    using Entry = std::pair<std::filesystem::file_time_type, std::filesystem::path>;
    std::vector<Entry> entries;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(directory_, error)) {
        entries.emplace_back(entry.last_write_time(error), entry.path());
    }
    std::sort(entries.begin(), entries.end());
    for (std::size_t i = 0; i + most < entries.size(); ++i) {
        std::filesystem::remove(entries[i].second, error);
    }
}

} // namespace sky::build
