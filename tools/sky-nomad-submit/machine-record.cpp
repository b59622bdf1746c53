// SPDX-License-Identifier: MIT
#include <sky-nomad-submit/machine-record.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/json.hpp>
#include <sky/spec.hpp>
#include <sky/state.hpp>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace sky::submit {
namespace {

constexpr const char* kOnTheirWay = ".on-their-way"; ///< no tenant's name
constexpr std::size_t kRecordBytesMax = 65536;
constexpr std::int64_t kAmountMost = std::int64_t{1} << 50;

const char* word(MachineRecord::State state) {
    switch (state) {
    case MachineRecord::State::kRunning:
        return "running";
    case MachineRecord::State::kStopped:
        return "stopped";
    case MachineRecord::State::kFailed:
        return "failed";
    }
    return "failed";
}

MachineRecord::State parse_state(Fields& fields, const char* key) {
    const std::string text = fields.string(key);
    for (const auto state : {MachineRecord::State::kRunning, MachineRecord::State::kStopped,
                             MachineRecord::State::kFailed}) {
        if (text == word(state)) {
            return state;
        }
    }
    fields.wrong(key, "running, stopped or failed");
}

template <typename N>
std::optional<N> optional_name(Fields& fields, const char* key) {
    return fields.has(key) ? std::optional(parse_name<N>(fields, key)) : std::nullopt;
}

MachineRecord::Did parse_did(Fields& parent) {
    Fields fields(parent.any("did"), "did");
    MachineRecord::Did did{.state = parse_state(fields, "state"),
                           .rev = optional_name<Revision>(fields, "rev"),
                           .job = optional_name<Revision>(fields, "job"),
                           .spec = fields.optional_string("spec"),
                           .at = fields.string("at"),
                           .session = optional_name<BuildId>(fields, "session"),
                           .why = fields.optional_string("why"),
                           .uncached = fields.boolean_or("uncached", false)};
    fields.done();
    return did;
}

Amount parse_amount(Fields& parent, const char* key) {
    Fields fields(parent.any(key), key);
    const auto number = [&](const char* name) {
        return static_cast<std::uint64_t>(fields.integer(name, 0, kAmountMost));
    };
    Amount amount{
        .vcpu = number("vcpu"), .mem_mib = number("mem_mib"), .disk_mib = number("disk_mib")};
    fields.done();
    return amount;
}

template <typename T>
Json or_null(const std::optional<T>& value) {
    if constexpr (std::is_same_v<T, std::string>) {
        return value ? Json(*value) : Json(nullptr);
    } else {
        return value ? Json(value->str()) : Json(nullptr);
    }
}

std::string cut(const std::string& text) {
    return printable(text, kWhyMost);
}

} // namespace

Amount& Amount::operator+=(const Amount& other) {
    vcpu += other.vcpu;
    mem_mib += other.mem_mib;
    disk_mib += other.disk_mib;
    return *this;
}

Amount at_least(const Amount& a, const Amount& b) {
    return {.vcpu = std::max(a.vcpu, b.vcpu),
            .mem_mib = std::max(a.mem_mib, b.mem_mib),
            .disk_mib = std::max(a.disk_mib, b.disk_mib)};
}

std::optional<Revision> MachineRecord::target() const {
    if (!rev || !want_running) {
        return std::nullopt;
    }
    return pin ? pin->rev : *rev;
}

std::optional<std::string> MachineRecord::held_back() const {
    return pin && pin->why != kRolledBack ? std::optional(pin->why) : std::nullopt;
}

void MachineRecord::note_good(const Revision& revision) {
    std::erase(good, revision);
    good.insert(good.begin(), revision);
    if (good.size() > kGoodMost) {
        good.resize(kGoodMost, revision);
    }
}

MachineRecord MachineRecord::parse(std::string_view json) {
    const Json value = parse_json(json, kRecordBytesMax, "record");
    Fields fields(value, "");
    static_cast<void>(fields.integer("v", 1, 1));
    MachineRecord out;
    out.rev = optional_name<Revision>(fields, "rev");
    const std::string want = fields.string("want");
    if (want != "running" && want != "stopped") {
        fields.wrong("want", "running or stopped");
    }
    out.want_running = want == "running";
    if (fields.has("pin")) {
        Fields pin(fields.any("pin"), "pin");
        out.pin = Pin{.rev = parse_name<Revision>(pin, "rev"), .why = pin.string("why")};
        pin.done();
    }
    out.did = parse_did(fields);
    fields.each("good", [&](const Json& rev, const std::string& path) {
        if (!Revision::valid(string_of(rev, path)) || out.good.size() == kGoodMost) {
            fields.wrong("good", fmt::format("at most {} revisions", kGoodMost));
        }
        out.good.push_back(Revision::parse(string_of(rev, path)));
    });
    out.granted = parse_amount(fields, "granted");
    fields.each(
        "apart",
        [&](const Json& path, const std::string& at) {
            out.apart.push_back(MachinePath::parse_joined(string_of(path, at)));
        },
        true);
    fields.done();
    return out;
}

std::string MachineRecord::dump() const {
    Json out = {
        {"v", 1},
        {"rev", or_null(rev)},
        {"want", want_running ? "running" : "stopped"},
        {"pin", nullptr},
        {"did",
         {{"state", word(did.state)},
          {"rev", or_null(did.rev)},
          {"job", or_null(did.job)},
          {"spec", or_null(did.spec)},
          {"at", did.at},
          {"session", or_null(did.session)},
          {"why", did.why ? Json(cut(*did.why)) : Json(nullptr)}}},
        {"good", Json::array()},
        {"granted",
         {{"vcpu", granted.vcpu}, {"mem_mib", granted.mem_mib}, {"disk_mib", granted.disk_mib}}}};
    if (did.uncached) {
        out["did"]["uncached"] = true;
    }
    if (pin) {
        out["pin"] = {{"rev", pin->rev.str()}, {"why", cut(pin->why)}};
    }
    for (const MachinePath& path : apart) {
        out["apart"].push_back(path.joined());
    }
    for (const Revision& revision : good) {
        out["good"].push_back(revision.str());
    }
    return dump_json(out);
}

namespace {

std::optional<MachineRecord> load_record(const std::filesystem::path& file) {
    try {
        const auto text = read_file_if_exists(file, kRecordBytesMax);
        return text ? std::optional(MachineRecord::parse(*text)) : std::nullopt;
    } catch (const Error& e) {
        fail(e.code(), "'{}': {} (remove it, then push again: it forgets a pin, no data)",
             file.string(), e.what());
    }
}

} // namespace

std::optional<MachineRecord> Records::load(const MachinePath& path) const {
    return load_record(State(state_).record(path));
}

void Records::save(const MachinePath& path, const MachineRecord& record) const {
    atomic_write(State(state_).record(path), record.dump() + "\n", {.mode = 0640});
}

void Records::remove(const MachinePath& path) const {
    std::filesystem::remove(State(state_).record(path));
}

void Records::prepare(const MachinePath& path) const {
    make_directories(State(state_).record(path).parent_path(), 0750);
}

// No name of a machine or a repository holds a dot, so these collide with nothing.
std::filesystem::path Records::machine_lock(const MachinePath& path) const {
    return State(state_).record(path).replace_extension(".lock");
}

std::filesystem::path Records::tenant_lock(const Tenant& tenant) const {
    return state_ / "records" / tenant.str() / ".lock";
}

std::filesystem::path Records::spare_lock() const {
    return state_ / "records" / ".spare.lock";
}

void Records::set_out(const MachinePath& path) const {
    const auto directory = state_ / "records" / kOnTheirWay;
    make_directories(directory, 0750);
    atomic_write(directory / path.joined(), "", {.durable = false});
}

void Records::arrived(const MachinePath& path) const noexcept {
    std::error_code gone;
    std::filesystem::remove(state_ / "records" / kOnTheirWay / path.joined(), gone);
}

std::set<MachinePath> Records::on_their_way() const {
    std::set<MachinePath> out;
    std::error_code missing;
    const auto directory = state_ / "records" / kOnTheirWay;
    for (const auto& entry : std::filesystem::directory_iterator(directory, missing)) {
        const auto name = entry.path().filename().string();
        if (!name.starts_with('.')) { // a draft
            out.insert(MachinePath::parse_joined(name));
        }
    }
    if (missing && missing != std::errc::no_such_file_or_directory) {
        fail(ExitCode::kIo, "cannot read '{}': {}", directory.string(), missing.message());
    }
    return out;
}

Records::All Records::of_repo(const Tenant& tenant, const Repo& repo) const {
    std::vector<std::string> files; // sorted: the map has little to compare
    std::error_code missing;
    const auto directory = state_ / "records" / tenant.str() / repo.str();
    for (const auto& entry : std::filesystem::directory_iterator(directory, missing)) {
        if (entry.path().extension() == ".json" && Machine::valid(entry.path().stem().string())) {
            files.push_back(entry.path().string());
        }
    }
    if (missing && missing != std::errc::no_such_file_or_directory) {
        fail(ExitCode::kIo, "cannot read '{}': {}", directory.string(), missing.message());
    }
    std::sort(files.begin(), files.end());
    All all;
    for (const std::filesystem::path file : files) {
        if (auto record = load_record(file)) { // gone meanwhile: its branch was deleted
            all.emplace_hint(all.end(),
                             MachinePath{tenant, repo, Machine::parse(file.stem().string())},
                             std::move(*record));
        }
    }
    return all;
}

Records::All Records::of_tenant(const Tenant& tenant) const {
    All all;
    std::error_code missing;
    const auto directory = state_ / "records" / tenant.str();
    for (const auto& entry : std::filesystem::directory_iterator(directory, missing)) {
        const auto name = entry.path().filename().string();
        if (Repo::valid(name)) {
            all.merge(of_repo(tenant, Repo::parse(name)));
        }
    }
    if (missing && missing != std::errc::no_such_file_or_directory) {
        fail(ExitCode::kIo, "cannot read '{}': {}", directory.string(), missing.message());
    }
    return all;
}

} // namespace sky::submit
