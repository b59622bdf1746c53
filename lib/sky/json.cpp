// SPDX-License-Identifier: MIT
#include <sky/error.hpp>
#include <sky/json.hpp>
#include <sky/name.hpp>

#include <ctime>
#include <nlohmann/json.hpp>
#include <vector>

namespace sky {
namespace {

constexpr int kMostDepth = 64;

/// Builds the value as nlohmann's own DOM parser does, and refuses what JSON leaves open: duplicate
/// keys, depth.
class StrictSax : public nlohmann::json_sax<Json> {
  public:
    explicit StrictSax(std::string what) : what_(std::move(what)) {}

    bool null() override { return put(nullptr); }
    bool boolean(bool value) override { return put(value); }
    bool number_integer(number_integer_t value) override { return put(value); }
    bool number_unsigned(number_unsigned_t value) override { return put(value); }
    bool number_float(number_float_t value, const string_t& /*text*/) override {
        return put(value);
    }
    bool string(string_t& value) override { return put(std::move(value)); }
    bool binary(binary_t& /*value*/) override { return false; }
    bool start_object(std::size_t /*size*/) override { return open(Json::object()); }
    bool start_array(std::size_t /*size*/) override { return open(Json::array()); }
    bool end_object() override { return close(); }
    bool end_array() override { return close(); }
    bool key(string_t& value) override {
        if (stack_.back()->contains(value)) {
            fail(ExitCode::kData, "{}: key '{}' stands there twice", what_, printable(value));
        }
        key_ = std::move(value);
        return true;
    }
    bool parse_error(std::size_t at, const std::string& /*token*/,
                     const nlohmann::detail::exception& /*error*/) override {
        fail(ExitCode::kData, "{}: not JSON (byte {})", what_, at);
    }

    Json take() { return std::move(root_); }

  private:
    Json* place(Json value) {
        if (stack_.empty()) {
            root_ = std::move(value);
            return &root_;
        }
        Json& parent = *stack_.back();
        if (parent.is_array()) {
            parent.push_back(std::move(value));
            return &parent.back();
        }
        Json& slot = parent[key_];
        slot = std::move(value);
        return &slot;
    }
    bool put(Json value) {
        place(std::move(value));
        return true;
    }
    bool open(Json value) {
        if (stack_.size() >= kMostDepth) {
            fail(ExitCode::kData, "{}: nested deeper than {} levels", what_, kMostDepth);
        }
        stack_.push_back(place(std::move(value)));
        return true;
    }
    bool close() {
        stack_.pop_back();
        return true;
    }

    std::string what_;
    Json root_;
    std::vector<Json*> stack_;
    std::string key_;
};

} // namespace

Json parse_json(std::string_view text, std::size_t cap, std::string_view what) {
    if (text.size() > cap) {
        fail(ExitCode::kData, "{}: larger than {} bytes", what, cap);
    }
    StrictSax sax{std::string(what)};
    if (!Json::sax_parse(text.begin(), text.end(), &sax)) {
        fail(ExitCode::kData, "{}: not JSON", what);
    }
    return sax.take();
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
