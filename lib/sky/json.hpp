// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace sky {

using Json = nlohmann::json;

/// Parses one JSON text: at most `cap` bytes, at most 64 levels deep, no duplicate keys, UTF-8.
/// Throws Error(kData): "WHAT: ..." naming the key, never the value.
[[nodiscard]] Json parse_json(std::string_view text, std::size_t cap, std::string_view what);

/// Calls `f` with each object of the list `text`, one after the other, holding but its members
/// `keys`: a list of ten thousand jobs takes little more room than its text. null is an empty list.
/// False: it is no JSON, or no list of objects; `f` may have been called for what stood before.
/// Throws Error(kData) for what parse_json() refuses in a member.
[[nodiscard]] bool each_element(std::string_view text, const std::vector<std::string_view>& keys,
                                const std::function<void(const Json&)>& f);

/// Compact, keys sorted, ASCII only, one line: what we write and what we hash.
[[nodiscard]] std::string dump_json(const Json& value);

/// A strict view of a JSON object: every key is asked for by name, done() refuses the rest.
/// All members throw Error(code) "PATH: expected ..." where PATH is like `networks.default.mtu`.
/// Does not own the JSON.
class Fields {
  public:
    Fields(const Json& object, std::string path, int error_code = 65);

    [[nodiscard]] std::string string(const char* key);
    [[nodiscard]] std::optional<std::string>
    optional_string(const char* key); ///< absent or null: nothing
    [[nodiscard]] std::int64_t integer(const char* key, std::int64_t least, std::int64_t most);
    [[nodiscard]] std::int64_t integer_or(const char* key, std::int64_t least, std::int64_t most,
                                          std::int64_t otherwise);
    [[nodiscard]] bool boolean(const char* key);
    [[nodiscard]] bool boolean_or(const char* key, bool otherwise);
    [[nodiscard]] bool has(const char* key);        ///< there and not null
    [[nodiscard]] const Json& any(const char* key); ///< the raw value, marked as read
    /// Calls f(element, path) for each of an array; absent is an empty array only when `optional`.
    void each(const char* key, const std::function<void(const Json&, const std::string&)>& f,
              bool optional = false);
    /// Calls f(key, value, path) for each member of an object.
    void
    each_member(const char* key,
                const std::function<void(const std::string&, const Json&, const std::string&)>& f,
                bool optional = false);
    /// Refuses keys that were not asked for.
    void done() const;

    [[nodiscard]] std::string path_of(const char* key) const;
    [[noreturn]] void wrong(const char* key, std::string_view expected) const;

  private:
    const Json* find(const char* key);
    const Json& need(const char* key);

    const Json* object_;
    std::string path_;
    int code_;
    std::set<std::string> seen_;
};

/// A string element of an array, strictly. Throws Error(kData).
[[nodiscard]] std::string string_of(const Json& value, const std::string& path);

/// Now, as RFC 3339 UTC with seconds: 2026-11-22T10:00:00Z.
[[nodiscard]] std::string now_text();

} // namespace sky
