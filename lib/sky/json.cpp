// SPDX-License-Identifier: MIT
#include <sky/json.hpp>

#include <sky/error.hpp>
#include <sky/name.hpp>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>
#include <simdjson.h>
#include <vector>

namespace sky {
namespace {

constexpr std::size_t kMostDepth = 64;
constexpr std::size_t kSmall = 16 << 10;

/// Makes our value of simdjson's, and refuses what JSON leaves open: duplicate keys, depth.
class Convert {
  public:
    explicit Convert(std::string_view what) : what_(what) {}

    Json value(const simdjson::dom::element& from) { // NOLINT(misc-no-recursion): bounded
        using Type = simdjson::dom::element_type;
        switch (from.type()) {
        case Type::OBJECT:
            return object(simdjson::dom::object(from));
        case Type::ARRAY:
            return array(simdjson::dom::array(from));
        case Type::STRING:
            return std::string_view(from);
        case Type::INT64:
            return std::int64_t(from) < 0 ? Json(std::int64_t(from)) : Json(std::uint64_t(from));
        case Type::UINT64:
            return std::uint64_t(from);
        case Type::DOUBLE:
            return double(from);
        case Type::BOOL:
            return bool(from);
        case Type::NULL_VALUE:
            break;
        }
        return nullptr;
    }

  private:
    Json object(const simdjson::dom::object& from) { // NOLINT(misc-no-recursion)
        const Level level(*this);
        Json out = Json::object();
        for (const auto& [key, each] : from) {
            if (out.contains(key)) {
                fail(ExitCode::kData, "{}: key '{}' stands there twice", what_, printable(key));
            }
            out[std::string(key)] = value(each);
        }
        return out;
    }
    Json array(const simdjson::dom::array& from) { // NOLINT(misc-no-recursion)
        const Level level(*this);
        Json out = Json::array();
        for (const auto& each : from) {
            out.push_back(value(each));
        }
        return out;
    }

    struct Level {
        explicit Level(Convert& convert) : convert_(convert) {
            if (++convert_.depth_ > kMostDepth) {
                fail(ExitCode::kData, "{}: nested deeper than {} levels", convert_.what_,
                     kMostDepth);
            }
        }
        ~Level() { --convert_.depth_; }
        Level(const Level&) = delete;
        Level& operator=(const Level&) = delete;
        Convert& convert_;
    };

    std::string_view what_;
    std::size_t depth_ = 0;
};

/// simdjson says that it takes it for none, not where.
[[noreturn]] void not_json(std::string_view text, std::string_view what) {
    try {
        const Json none = Json::parse(text);
    } catch (const Json::parse_error& e) {
        fail(ExitCode::kData, "{}: not JSON (byte {})", what, e.byte);
    } catch (const Json::out_of_range&) { // no double is that large: told below
    }
    if (text.starts_with("\xef\xbb\xbf")) { // nlohmann passes over it
        fail(ExitCode::kData, "{}: not JSON: it begins with a byte order mark", what);
    }
    // All else that JSON allows simdjson takes.
    fail(ExitCode::kData, "{}: a number in it is out of range", what);
}

} // namespace

Json parse_json(std::string_view text, std::size_t cap, std::string_view what) {
    if (text.size() > cap) {
        fail(ExitCode::kData, "{}: larger than {} bytes", what, cap);
    }
    // What a small document needed is kept for the next of thousands; a large one's would stay with
    // a process that lives for long: it is about 14 times its size.
    thread_local simdjson::dom::parser kept;
    simdjson::dom::parser once;
    auto& parser = text.size() <= kSmall ? kept : once;
    simdjson::dom::element value;
    const auto error = parser.parse(text.data(), text.size()).get(value);
    if (error == simdjson::DEPTH_ERROR) {
        fail(ExitCode::kData, "{}: nested deeper than {} levels", what, kMostDepth);
    }
    if (error != simdjson::SUCCESS) {
        not_json(text, what);
    }
    return Convert(what).value(value);
}

bool each_element(std::string_view text, const std::vector<std::string_view>& keys,
                  const std::function<void(const Json&)>& f) {
    simdjson::dom::parser parser;
    simdjson::dom::element whole;
    if (parser.parse(text.data(), text.size()).get(whole) != simdjson::SUCCESS) {
        return false;
    }
    simdjson::dom::array list;
    if (whole.get(list) != simdjson::SUCCESS) {
        return whole.is_null();
    }
    for (const auto& each : list) {
        simdjson::dom::object object;
        if (each.get(object) != simdjson::SUCCESS) {
            return false;
        }
        Json out = Json::object();
        for (const auto& [key, value] : object) {
            if (std::find(keys.begin(), keys.end(), key) != keys.end()) {
                out[std::string(key)] = Convert(key).value(value);
            }
        }
        f(out);
    }
    return true;
}

std::string dump_json(const Json& value) {
    return value.dump(-1, ' ', true, Json::error_handler_t::replace);
}

Fields::Fields(const Json& object, std::string path, int error_code)
    : object_(&object), path_(std::move(path)), code_(error_code) {
    if (!object.is_object()) {
        throw Error(static_cast<ExitCode>(code_), path_ + ": expected an object");
    }
}

std::string Fields::path_of(const char* key) const {
    return path_.empty() ? key : path_ + "." + key;
}

void Fields::wrong(const char* key, std::string_view expected) const {
    throw Error(static_cast<ExitCode>(code_),
                fmt::format("{}: expected {}", path_of(key), expected));
}

const Json* Fields::find(const char* key) {
    seen_.insert(key);
    const auto at = object_->find(key);
    return at == object_->end() || at->is_null() ? nullptr : &*at;
}

const Json& Fields::need(const char* key) {
    const Json* value = find(key);
    if (value == nullptr) {
        throw Error(static_cast<ExitCode>(code_), path_of(key) + ": missing");
    }
    return *value;
}

std::string Fields::string(const char* key) {
    const Json& value = need(key);
    if (!value.is_string()) {
        wrong(key, "a string");
    }
    return value.get<std::string>();
}

std::optional<std::string> Fields::optional_string(const char* key) {
    return find(key) == nullptr ? std::nullopt : std::optional(string(key));
}

std::int64_t Fields::integer(const char* key, std::int64_t least, std::int64_t most) {
    const Json& value = need(key);
    const bool fits = value.is_number_integer() &&
                      !(value.is_number_unsigned() &&
                        value.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX));
    if (!fits || value.get<std::int64_t>() < least || value.get<std::int64_t>() > most) {
        wrong(key, fmt::format("a whole number from {} to {}", least, most));
    }
    return value.get<std::int64_t>();
}

std::int64_t Fields::integer_or(const char* key, std::int64_t least, std::int64_t most,
                                std::int64_t otherwise) {
    return find(key) == nullptr ? otherwise : integer(key, least, most);
}

bool Fields::boolean(const char* key) {
    const Json& value = need(key);
    if (!value.is_boolean()) {
        wrong(key, "true or false");
    }
    return value.get<bool>();
}

bool Fields::boolean_or(const char* key, bool otherwise) {
    return find(key) == nullptr ? otherwise : boolean(key);
}

bool Fields::has(const char* key) {
    return find(key) != nullptr;
}

const Json& Fields::any(const char* key) {
    return need(key);
}

void Fields::each(const char* key, const std::function<void(const Json&, const std::string&)>& f,
                  bool optional) {
    if (optional && find(key) == nullptr) {
        return;
    }
    const Json& value = need(key);
    if (!value.is_array()) {
        wrong(key, "an array");
    }
    for (std::size_t i = 0; i < value.size(); ++i) {
        f(value.at(i), fmt::format("{}[{}]", path_of(key), i));
    }
}

void Fields::each_member(
    const char* key,
    const std::function<void(const std::string&, const Json&, const std::string&)>& f,
    bool optional) {
    if (optional && find(key) == nullptr) {
        return;
    }
    const Json& value = need(key);
    if (!value.is_object()) {
        wrong(key, "an object");
    }
    for (const auto& [name, member] : value.items()) {
        f(name, member, path_of(key) + "." + printable(name));
    }
}

void Fields::done() const {
    for (const auto& [name, value] : object_->items()) {
        if (!seen_.contains(name)) {
            throw Error(static_cast<ExitCode>(code_),
                        fmt::format("{}{}: unknown key", path_.empty() ? "" : path_ + ".",
                                    printable(name)));
        }
    }
}

std::string string_of(const Json& value, const std::string& path) {
    if (!value.is_string()) {
        fail(ExitCode::kData, "{}: expected a string", path);
    }
    return value.get<std::string>();
}

std::string now_text() {
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    ::gmtime_r(&now, &parts);
    std::string text(32, '\0');
    text.resize(std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts));
    return text;
}

} // namespace sky
