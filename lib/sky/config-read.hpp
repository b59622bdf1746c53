// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>
#include <sky/error.hpp>
#include <sky/json.hpp>

#include <nlohmann/json.hpp>

/// How config*.cpp read the members of a configuration; for them alone. All throw Error(kConfig).
namespace sky::config_read {

inline constexpr int kCode = static_cast<int>(ExitCode::kConfig);

inline void set(Fields& fields, const char* key, std::string& into) {
    into = fields.optional_string(key).value_or(into);
}

inline void set(Fields& fields, const char* key, std::filesystem::path& into) {
    if (const auto text = fields.optional_string(key)) {
        into = *text;
        if (!into.is_absolute()) {
            fields.wrong(key, "an absolute path");
        }
    }
}

inline void set(Fields& fields, const char* key, std::int64_t& into, std::int64_t least,
                std::int64_t most) {
    into = fields.integer_or(key, least, most, into);
}

inline void set(Fields& fields, const char* key, std::optional<std::filesystem::path>& into) {
    if (fields.has(key)) {
        std::filesystem::path path;
        set(fields, key, path);
        into = std::move(path);
    }
}

template <typename T>
void set_list(Fields& fields, const char* key, std::vector<T>& into) {
    if (!fields.has(key)) {
        return;
    }
    into.clear();
    fields.each(key, [&](const Json& value, const std::string& path) {
        if (!value.is_string()) {
            fail(ExitCode::kConfig, "{}: expected a string", path);
        }
        into.emplace_back(value.get<std::string>());
    });
}

template <typename T>
T name_of(const std::string& text, const std::string& path) {
    if (!T::valid(text)) {
        fail(ExitCode::kConfig, "{}: not a name (use a-z 0-9 -, start with a letter)", path);
    }
    return T::parse(text);
}

template <typename F>
void section(Fields& parent, const char* key, F&& read) {
    if (parent.has(key)) {
        Fields fields(parent.any(key), parent.path_of(key), kCode);
        read(fields);
        fields.done();
    }
}

void read_nomad(Fields& f, NomadConfig& nomad);

} // namespace sky::config_read
