// SPDX-License-Identifier: MIT
// The pipe's side of push and missing: lines in, lines out.
#include "cache.hpp"
#include "push.hpp"

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/json.hpp>
#include <sky/lines.hpp>
#include <sky/log.hpp>
#include <sky/name.hpp>

#include <chrono>
#include <nlohmann/json.hpp>

namespace sky::cache {
namespace {

constexpr std::size_t kLineCap = std::size_t{1} << 20;
constexpr std::size_t kPathsCap = std::size_t{16} << 20;
constexpr std::size_t kErrorColumns = 60 - 3; // printable() may add three dots
constexpr std::size_t kTogetherMost = 256;
constexpr std::chrono::milliseconds kTogether{5}; // between two lines that are handled together
constexpr std::chrono::seconds kLook{2}; // how often an idle stage looks whether its reader lives

void quit_if_gone(int out) {
    if (hung_up(out)) {
        fail(ExitCode::kIo, "the reader has gone");
    }
}

/// The next line, however long it takes: a build may take hours. Leaves when nobody reads our
/// answer any more.
std::optional<std::string> next_line(LineReader& reader, int out) {
    for (;;) {
        try {
            return reader.next(kLook);
        } catch (const Error& e) {
            if (e.code() != ExitCode::kBusy) {
                throw;
            }
            quit_if_gone(out);
        }
    }
}

Json error_of(ExitCode exit, const std::string& text) {
    log::warn("{}", text);
    return {{"stage", "cache"},
            {"code", static_cast<int>(exit)},
            {"text", printable(text, kErrorColumns)}};
}

/// Of sky-build's: the deployment is to be in the cache already.
bool is_known(const Json& object) {
    return object.contains("known") && object["known"] == true && !object.contains("error");
}

Json parse_object(const std::string& line) {
    auto object = parse_json(line, kLineCap, "stdin");
    if (!object.is_object()) {
        fail(ExitCode::kData, "stdin: expected an object in each line");
    }
    return object;
}

/// Those that are there at once, to the first that is none of the known, or to the end.
void take_known(LineReader& reader, std::vector<Json>& objects) {
    try {
        while (objects.size() < kTogetherMost && is_known(objects.back())) {
            const auto line = reader.next(kTogether);
            if (!line) {
                return;
            }
            objects.push_back(parse_object(*line));
        }
    } catch (const Error& e) {
        if (e.code() != ExitCode::kBusy) {
            throw;
        }
    }
}

/// True if the object is free of errors now.
bool handle(const PushContext& context, Json& object) {
    if (object.contains("error") && !object["error"].is_null()) {
        return false;
    }
    try {
        push_one(context, object);
        return true;
    } catch (const Error& e) {
        object["error"] = error_of(e.code(), e.what());
    } catch (const std::exception& e) {
        object["error"] = error_of(ExitCode::kBug, std::string("internal error: ") + e.what());
    }
    return false;
}

} // namespace

int push_all(PushContext context, int in, int out) {
    context.still_wanted = [out] { quit_if_gone(out); };
    LineReader reader(in, kLineCap);
    bool good = true;
    while (const auto line = next_line(reader, out)) {
        std::vector<Json> objects{parse_object(*line)};
        std::vector<Json*> known;
        if (!context.dry_run) {
            take_known(reader, objects);
            for (auto& object : objects) {
                if (is_known(object)) {
                    known.push_back(&object);
                }
            }
        }
        push_known(context, known, [](Json& object, const Error& e) {
            object["error"] = error_of(e.code(), e.what());
        });
        for (auto& object : objects) {
            const bool done = object.contains("cached") && is_known(object);
            good = (done || handle(context, object)) && good;
            quit_if_gone(out);
            write_line(out, object);
        }
    }
    return static_cast<int>(good ? ExitCode::kOk : ExitCode::kSomeFailed);
}

void missing_all(const PushContext& context, int in, int out) {
    LineReader reader(in, kPathsCap);
    while (const auto line = next_line(reader, out)) {
        const auto request = parse_json(*line, kPathsCap, "stdin");
        Fields f(request, "");
        static_cast<void>(f.integer("v", 1, 1));
        const auto named = f.optional_string("tenant");
        const auto tenant = context.caller.tenant_for(context.tenant ? context.tenant : named);
        static_cast<void>(context.config.tenant(tenant));
        const Cache cache(State(context.config), tenant);
        const bool check = f.boolean_or("check", false);
        Json missing = Json::array();
        f.each("paths", [&](const Json& value, const std::string& where) {
            const auto path = StorePath::parse(string_of(value, where));
            if (cache.find(path) && !(check && cache.drop_damaged(path))) {
                if (!context.dry_run) {
                    cache.touch(path); // it is counted on: it must not go before it is rooted
                }
            } else {
                missing.push_back(path.str());
            }
        });
        f.done();
        write_line(out, {{"v", 1}, {"missing", std::move(missing)}});
    }
}

} // namespace sky::cache
