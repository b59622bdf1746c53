// SPDX-License-Identifier: MIT
#include <sky-vm-run/files.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/json.hpp>
#include <sky/log.hpp>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <type_traits>

namespace sky::vm {
namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
constexpr std::size_t kCap = 2 * kSpecBytesMax;

std::vector<std::string> strings(Fields& fields, const char* key) {
    std::vector<std::string> out;
    fields.each(key, [&](const Json& value, const std::string& at) {
        out.push_back(string_of(value, at));
    });
    return out;
}

Json text_or_null(const std::string& text) {
    return text.empty() ? Json(nullptr) : Json(text);
}

} // namespace

Want Want::parse(std::string_view json) {
    const Json value = parse_json(json, kCap, "want.json");
    Fields f(value, "");
    static_cast<void>(f.integer("v", 1, 1));
    Want want;
    const std::string text = f.string("want");
    if (text != "running" && text != "stopped") {
        f.wrong("want", "\"running\" or \"stopped\"");
    }
    want.running = text == "running";
    want.serial = static_cast<std::uint64_t>(f.integer("serial", 0, kMost));
    f.done();
    return want;
}

std::string Want::dump() const {
    return dump_json({{"v", 1}, {"want", running ? "running" : "stopped"}, {"serial", serial}}) +
           "\n";
}

Running Running::parse(std::string_view json) {
    const Json value = parse_json(json, kCap, "running.json");
    Fields f(value, "");
    static_cast<void>(f.integer("v", 1, 1));
    Running r{.spec = Spec::parse(dump_json(f.any("spec"))),
              .serial = static_cast<std::uint64_t>(f.integer("serial", 0, kMost)),
              .generation = static_cast<std::uint64_t>(f.integer_or("generation", 0, kMost, 0)),
              .alloc = f.optional_string("alloc").value_or(""),
              .lease = f.optional_string("lease").value_or(""),
              .uid = static_cast<uid_t>(f.integer("uid", 1, 0x7fffffff)),
              .guard = static_cast<pid_t>(f.integer("guard", 0, 0x7fffffff)),
              .guard_start = static_cast<std::uint64_t>(f.integer("guard_start", 0, kMost)),
              .begun = f.boolean("begun"),
              .since = f.string("since"),
              .address = strings(f, "address")};
    f.done();
    return r;
}

std::string Running::dump() const {
    return dump_json({{"v", 1},
                      {"spec", parse_json(spec.dump(), kSpecBytesMax, "spec")},
                      {"serial", serial},
                      {"generation", generation},
                      {"alloc", text_or_null(alloc)},
                      {"lease", text_or_null(lease)},
                      {"uid", uid},
                      {"guard", guard},
                      {"guard_start", guard_start},
                      {"begun", begun},
                      {"since", since},
                      {"address", address}}) +
           "\n";
}

StateLine StateLine::parse(std::string_view json) {
    const Json value = parse_json(json, kCap, "state.json");
    Fields f(value, "");
    static_cast<void>(f.integer("v", 1, 1));
    StateLine line{.path = {parse_name<Tenant>(f, "tenant"), parse_name<Repo>(f, "repo"),
                            parse_name<Machine>(f, "machine")},
                   .state = f.string("state"),
                   .rev = f.optional_string("rev").value_or(""),
                   .spec = f.optional_string("spec").value_or(""),
                   .host = f.optional_string("host").value_or(""),
                   .alloc = f.optional_string("alloc").value_or(""),
                   .pid = static_cast<pid_t>(f.integer_or("pid", 0, 0x7fffffff, 0)),
                   .since = f.string("since"),
                   .address = strings(f, "address"),
                   .restarts = f.integer("restarts", 0, kMost),
                   .why = f.optional_string("why").value_or(""),
                   .serial = static_cast<std::uint64_t>(f.integer_or("serial", 0, kMost, 0)),
                   .code = static_cast<int>(f.integer_or("code", 1, 255, 1))};
    return line; // no done(): its supervisor may be a version ahead
}

Json StateLine::json(bool whole) const {
    Json out{{"v", 1},
             {"tenant", path.tenant.str()},
             {"repo", path.repo.str()},
             {"machine", path.machine.str()},
             {"state", state},
             {"rev", text_or_null(rev)},
             {"spec", text_or_null(spec)},
             {"host", text_or_null(host)},
             {"alloc", text_or_null(alloc)},
             {"pid", pid == 0 ? Json(nullptr) : Json(pid)},
             {"since", since},
             {"address", address},
             {"restarts", restarts},
             {"why", text_or_null(why)}};
    if (whole) {
        out["serial"] = serial;
    }
    if (whole || state == "starting" || state == "backoff" || state == "failed") {
        out["code"] = code;
    }
    return out;
}

bool StateLine::settled() const {
    return state == "ready" || state == "stopped" || state == "failed";
}

void need_room(const std::filesystem::path& directory, std::uint64_t bytes) {
    const auto room = std::filesystem::space(directory).available;
    if (room < bytes) {
        fail(ExitCode::kIo, "disk full: {} KiB left at '{}' (make room there, then try again)",
             room >> 10U, directory.string());
    }
}

template <typename T>
std::optional<T> load(const std::filesystem::path& file) {
    const auto text = read_file_if_exists(file, kCap);
    if (!text || text->empty()) { // empty: its bytes were not on the disk when the power failed
        return std::nullopt;
    }
    try {
        return T::parse(*text);
    } catch (const Error& e) {
        // What was said, and what shall run, the next start writes anew.
        if constexpr (std::is_same_v<T, StateLine> || std::is_same_v<T, Spec>) {
            log::warn("'{}': {} (a start writes it anew)", file.string(), e.what());
            return std::nullopt;
        } else {
            fail(e.code(), "'{}': {}", file.string(), e.what());
        }
    }
}

template std::optional<Want> load<Want>(const std::filesystem::path&);
template std::optional<Running> load<Running>(const std::filesystem::path&);
template std::optional<StateLine> load<StateLine>(const std::filesystem::path&);
template std::optional<Spec> load<Spec>(const std::filesystem::path&);

} // namespace sky::vm
