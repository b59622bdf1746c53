// SPDX-License-Identifier: MIT
#include <sky/nomad/elements.hpp>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

namespace sky::nomad {
namespace {

/// Goes through JSON without making values of it: what nobody wants is nine tenths of a list.
class Walk {
  public:
    explicit Walk(std::string_view text) : rest_(text) {}

    /// Whether `c` comes next; then it is behind us.
    bool take(char c) {
        space();
        const bool there = rest_.starts_with(c);
        rest_.remove_prefix(there ? 1 : 0);
        return there;
    }
    bool ends() {
        space();
        return rest_.empty();
    }
    /// The text of a string, with its quotes; empty: there is none.
    std::string_view string() {
        space();
        return rest_.starts_with('"') ? cut(string_end(0)) : std::string_view();
    }
    /// The text of any value; empty: there is none. Brackets are counted, and no more.
    std::string_view value() {
        space();
        if (rest_.starts_with('"')) {
            return string();
        }
        if (!rest_.starts_with('{') && !rest_.starts_with('[')) {
            return cut(std::min(rest_.find_first_of(",:]} \t\r\n"), rest_.size()));
        }
        std::size_t depth = 0;
        for (std::size_t at = 0; at < rest_.size();) {
            const char c = rest_[at];
            if (c == '"') {
                at = string_end(at);
                continue;
            }
            ++at;
            depth += c == '{' || c == '[' ? 1 : 0;
            depth -= c == '}' || c == ']' ? 1 : 0;
            if (depth == 0) {
                return cut(at);
            }
        }
        return {};
    }

  private:
    void space() {
        rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t\r\n"), rest_.size()));
    }
    /// Behind the string that begins at `at`; npos: it does not end.
    [[nodiscard]] std::size_t string_end(std::size_t at) const {
        for (;;) {
            at = rest_.find('"', at + 1);
            if (at == rest_.npos) {
                return at;
            }
            const auto plain = rest_.find_last_not_of('\\', at - 1); // at worst the first quote
            if ((at - plain) % 2 == 1) {
                return at + 1;
            }
        }
    }
    std::string_view cut(std::size_t size) {
        if (size > rest_.size()) {
            return {};
        }
        const auto out = rest_.substr(0, size);
        rest_.remove_prefix(size);
        return out;
    }

    std::string_view rest_;
};

/// One object with the members that are wanted; nothing: there is none.
std::optional<Json> element(Walk& walk, const std::vector<std::string_view>& keys) {
    if (!walk.take('{')) {
        return std::nullopt;
    }
    Json out = Json::object();
    if (walk.take('}')) {
        return out;
    }
    do {
        auto key = walk.string();
        const bool named = !key.empty() && walk.take(':');
        const auto value = named ? walk.value() : std::string_view();
        if (value.empty()) {
            return std::nullopt;
        }
        key = key.substr(1, key.size() - 2);
        if (std::find(keys.begin(), keys.end(), key) != keys.end()) {
            Json wanted = Json::parse(value, nullptr, false);
            if (wanted.is_discarded()) {
                return std::nullopt;
            }
            out[std::string(key)] = std::move(wanted);
        }
    } while (walk.take(','));
    return walk.take('}') ? std::optional(std::move(out)) : std::nullopt;
}

} // namespace

bool each_element(std::string_view text, const std::vector<std::string_view>& keys,
                  const std::function<void(const Json&)>& f) {
    Walk walk(text);
    if (!walk.take('[')) {
        return walk.value() == "null" && walk.ends();
    }
    if (walk.take(']')) {
        return walk.ends();
    }
    do {
        const auto one = element(walk, keys);
        if (!one) {
            return false;
        }
        f(*one);
    } while (walk.take(','));
    return walk.take(']') && walk.ends();
}

} // namespace sky::nomad
