// SPDX-License-Identifier: MIT
#include <sky/record.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/json.hpp>
#include <sky/state.hpp>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace sky {
namespace {

constexpr std::int64_t kSizeMost = std::int64_t{1} << 50;

/// Appends, and insists on order: sorted without duplicates.
void append(std::vector<StorePath>& into, StorePath path, const std::string& where) {
    if (!into.empty() && !(into.back() < path)) {
        fail(ExitCode::kData, "{}: not sorted, or twice", where);
    }
    into.push_back(std::move(path));
}

RecordPath parse_path(const Json& value, const std::string& where) {
    Fields f(value, where);
    RecordPath entry{.path = StorePath::parse(f.string("path")),
                     .nar_hash = parse_nar_hash(f.string("nar_hash")),
                     .nar_size = static_cast<std::uint64_t>(f.integer("nar_size", 0, kSizeMost)),
                     .references = {}};
    f.each("references", [&](const Json& reference, const std::string& place) {
        append(entry.references, StorePath::parse(string_of(reference, place)), place);
    });
    return entry;
}

bool is_time(std::string_view text) {
    constexpr std::string_view kShape = "0000-00-00T00:00:00Z";
    return text.size() == kShape.size() &&
           std::equal(text.begin(), text.end(), kShape.begin(), [](char c, char shape) {
               return shape == '0' ? c >= '0' && c <= '9' : c == shape;
           });
}

void check_closure(const Record& record) {
    const auto* top = record.find(record.deployment);
    if (top == nullptr || top->nar_hash != record.nar_hash) {
        fail(ExitCode::kData, "closure: lacks the deployment");
    }
    for (const auto& entry : record.closure) {
        for (const auto& reference : entry.references) {
            if (record.find(reference) == nullptr) {
                fail(ExitCode::kData, "closure: lacks '{}', which '{}' refers to", reference.base(),
                     entry.path.base());
            }
        }
    }
}

} // namespace

const RecordPath* Record::find(const StorePath& path) const noexcept {
    const auto at = std::lower_bound(
        closure.begin(), closure.end(), path,
        [](const RecordPath& entry, const StorePath& key) { return entry.path < key; });
    return at != closure.end() && at->path == path ? &*at : nullptr;
}

Record parse_record(std::string_view text) {
    const Json value = parse_json(text, kRecordCap, "record");
    Fields f(value, "");
    static_cast<void>(f.integer("v", 1, 1));
    Record record{.machine = {Tenant::parse(f.string("tenant")), Repo::parse(f.string("repo")),
                              Machine::parse(f.string("machine"))},
                  .rev = Revision::parse(f.string("rev")),
                  .build = BuildId::parse(f.string("build")),
                  .created = f.string("created"),
                  .deployment = StorePath::parse(f.string("deployment")),
                  .nar_hash = parse_nar_hash(f.string("nar_hash")),
                  .closure = {},
                  .manifest = {}};
    if (!is_time(record.created)) {
        f.wrong("created", "a time like 2026-11-22T10:00:00Z");
    }
    f.each("closure", [&](const Json& entry, const std::string& where) {
        record.closure.push_back(parse_path(entry, where));
        const auto n = record.closure.size();
        if (n > 1 && !(record.closure[n - 2].path < record.closure[n - 1].path)) {
            fail(ExitCode::kData, "{}: not sorted, or twice", where);
        }
    });
    const Json& manifest = f.any("manifest");
    if (!manifest.is_object()) {
        f.wrong("manifest", "an object");
    }
    record.manifest = dump_json(manifest); // no done(): its host may be a version ahead
    check_closure(record);
    return record;
}

std::string print_record(const Record& record) {
    Json closure = Json::array();
    for (const auto& entry : record.closure) {
        Json references = Json::array();
        for (const auto& reference : entry.references) {
            references.push_back(reference.str());
        }
        closure.push_back({{"path", entry.path.str()},
                           {"nar_hash", nar_hash_text(entry.nar_hash)},
                           {"nar_size", entry.nar_size},
                           {"references", std::move(references)}});
    }
    const Json value{{"v", 1},
                     {"tenant", record.machine.tenant.str()},
                     {"repo", record.machine.repo.str()},
                     {"machine", record.machine.machine.str()},
                     {"rev", record.rev.str()},
                     {"build", record.build.str()},
                     {"created", record.created},
                     {"deployment", record.deployment.str()},
                     {"nar_hash", nar_hash_text(record.nar_hash)},
                     {"closure", std::move(closure)},
                     {"manifest", parse_json(record.manifest, kRecordCap, "manifest")}};
    return dump_json(value) + "\n";
}

std::filesystem::path record_path(const std::filesystem::path& state, const MachinePath& machine,
                                  const Revision& rev) {
    return State(state).deployment(machine, rev);
}

Record load_record(const std::filesystem::path& state, const MachinePath& machine,
                   const Revision& rev) {
    const auto path = record_path(state, machine, rev);
    const auto text = read_file_if_exists(path, kRecordCap);
    if (!text) {
        fail(ExitCode::kRefused, "no deployment of '{}' at {} (push it again)", machine.text(),
             rev.str());
    }
    auto record = [&] {
        try {
            return parse_record(*text);
        } catch (const Error& e) {
            fail(e.code(), "'{}': {} (push it again)", path.string(), e.what());
        }
    }();
    if (record.machine != machine || record.rev != rev) {
        fail(ExitCode::kData, "'{}' is the record of another deployment", path.string());
    }
    return record;
}

} // namespace sky
