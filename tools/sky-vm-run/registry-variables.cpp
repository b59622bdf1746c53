// SPDX-License-Identifier: MIT
#include <sky-vm-run/registry-variables.hpp>

#include <sky/error.hpp>
#include <sky/json.hpp>
#include <sky/log.hpp>
#include <sky/name.hpp>

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <tuple>

namespace sky::vm {
namespace {

constexpr const char* kHead = "sky/registry/head";
constexpr std::size_t kVariableBytes = 65'000; ///< of Nomad's 65,536, less the item's key
constexpr int kPiecesMax = 1000;

std::string parts_of(const std::string& tenant) {
    return "sky/registry/part/" + tenant + "/";
}

std::string piece_path(const std::string& tenant, const Registry::Commit& commit,
                       std::uint32_t piece) {
    return fmt::format("{}{}-{}-{}", parts_of(tenant), commit.serial, commit.by, piece);
}

/// The change that wrote a piece, and its serial; nothing for a path that is none of ours.
std::optional<Registry::Commit> commit_of(const std::string& path, const std::string& tenant) {
    Registry::Commit commit;
    const std::string name = path.substr(parts_of(tenant).size());
    const char* end = name.data() + name.size();
    const auto [at, error] = std::from_chars(name.data(), end, commit.serial);
    if (error != std::errc{} || end - at < 18 || *at != '-' || at[17] != '-') {
        return std::nullopt;
    }
    commit.by.assign(at + 1, 16);
    return commit;
}

std::string random_name() {
    std::random_device random;
    return fmt::format("{:08x}{:08x}", random(), random());
}

std::set<std::string> tenants_in(const Registry& registry) {
    std::set<std::string> out;
    for (const auto& [name, entry] : registry.tenants) {
        out.insert(name);
    }
    const auto owners = [&](const auto& machines) {
        for (const auto& [joined, entry] : machines) {
            out.insert(joined.substr(0, joined.find('.')));
        }
    };
    owners(registry.machines);
    owners(registry.kept);
    return out;
}

} // namespace

RegistryHead RegistryHead::parse(std::string_view json) {
    const Json value = parse_json(json, std::size_t{1} << 17, kHead);
    Fields fields(value, kHead);
    static_cast<void>(fields.integer("v", 1, 1));
    RegistryHead head;
    head.commit = parse_commit(fields.any("commit"), fields.path_of("commit"));
    head.next_index =
        static_cast<std::uint32_t>(fields.integer("next_index", 1, kMachineIndexMax + 1));
    fields.each_member(
        "parts", [&](const std::string& tenant, const Json& part, const std::string& at) {
            Fields of(part, at);
            Part read{.commit = parse_commit(of.any("commit"), of.path_of("commit")),
                      .pieces = static_cast<std::uint32_t>(of.integer("pieces", 1, kPiecesMax))};
            of.done();
            head.parts.emplace(Tenant::parse(tenant).str(), std::move(read));
        });
    fields.done();
    return head;
}

std::string RegistryHead::dump() const {
    Json out = {{"v", 1},
                {"commit", commit_json(commit)},
                {"next_index", next_index},
                {"parts", Json::object()}};
    for (const auto& [tenant, part] : parts) {
        out["parts"][tenant] = {{"commit", commit_json(part.commit)}, {"pieces", part.pieces}};
    }
    return dump_json(out);
}

std::optional<RegistryVariables::Head> RegistryVariables::head() {
    const auto read = variables_.read(kHead);
    return read ? std::optional(Head{RegistryHead::parse(read->text), read->index}) : std::nullopt;
}

Registry RegistryVariables::registry(Head head) {
    for (int tries = 0; tries < 20; ++tries) {
        Registry out;
        out.commit = head.head.commit;
        out.next_index = head.head.next_index;
        std::string missing;
        for (const auto& [tenant, part] : head.head.parts) {
            std::string text;
            for (std::uint32_t i = 0; i < part.pieces; ++i) {
                const auto path = piece_path(tenant, part.commit, i);
                const auto piece = variables_.read(path);
                if (!piece) {
                    missing = path;
                    break;
                }
                text += piece->text;
            }
            if (!missing.empty()) {
                break;
            }
            Registry theirs = Registry::parse(text);
            if (theirs.part_of(tenant) != theirs) {
                fail(ExitCode::kData, "'{}' holds more than this tenant's",
                     piece_path(tenant, part.commit, 0));
            }
            out.add(std::move(theirs));
        }
        if (missing.empty()) {
            out.check();
            return out;
        }
        auto now = this->head(); // a change came in between, or somebody removed what is ours
        if (!now || now->index == head.index) {
            fail(ExitCode::kData, "Nomad has no variable '{}', though '{}' names it", missing,
                 kHead);
        }
        head = std::move(*now);
    }
    fail(ExitCode::kBusy, "the registry changes faster than it can be read");
}

void RegistryVariables::commit(const std::optional<Head>& before, const Registry& was,
                               Registry& next) {
    const bool newer = !before || was.commit != before->head.commit;
    RegistryHead head{
        .commit = {.serial =
                       std::max(was.commit.serial, before ? before->head.commit.serial : 0) + 1,
                   .by = random_name()},
        .next_index = next.next_index,
        .parts = {}};
    std::vector<std::pair<std::string, std::string>> pieces; // path, text
    for (const auto& tenant : tenants_in(next)) {
        const Registry theirs = next.part_of(tenant);
        if (!newer && before->head.parts.contains(tenant) && was.part_of(tenant) == theirs) {
            head.parts.emplace(tenant, before->head.parts.at(tenant));
            continue;
        }
        const std::string text = theirs.dump();
        std::uint32_t count = 0;
        for (std::size_t at = 0; at < text.size(); at += kRegistryPieceBytes) {
            pieces.emplace_back(piece_path(tenant, head.commit, count++),
                                text.substr(at, kRegistryPieceBytes));
        }
        head.parts.emplace(tenant, RegistryHead::Part{.commit = head.commit, .pieces = count});
    }
    const std::string text = head.dump();
    if (text.size() > kVariableBytes) {
        fail(ExitCode::kRefused,
             "the registry has room for no more tenants ({} have machines or volumes: the list of "
             "them fills one of Nomad's variables)",
             head.parts.size());
    }
    bool done = true;
    for (const auto& [path, piece] : pieces) {
        done = done && variables_.write(path, piece, 0);
    }
    if (!done || !variables_.write(kHead, text, before ? before->index : 0)) {
        for (const auto& [path, piece] : pieces) {
            variables_.remove(path);
        }
        fail(ExitCode::kBusy, "another host changed the registry meanwhile (again)");
    }
    next.commit = head.commit;
    try {
        sweep(before ? before->head : RegistryHead{}, head);
    } catch (const Error& e) { // a later change does it
        log::debug("old parts of the registry: {}", e.what());
    }
}

/// What no head names any more, of those tenants whose part changed. A part that is not younger
/// than the head was is nobody's who may still make it count: the head has changed since.
void RegistryVariables::sweep(const RegistryHead& was, const RegistryHead& now) {
    std::set<std::string> changed;
    for (const auto* head : {&was, &now}) {
        for (const auto& [tenant, part] : head->parts) {
            const auto other = now.parts.find(tenant);
            if (other == now.parts.end() || other->second.commit == now.commit) {
                changed.insert(tenant);
            }
        }
    }
    for (const auto& tenant : changed) {
        const auto counts = now.parts.find(tenant);
        for (const auto& path : variables_.list(parts_of(tenant))) {
            const auto by = commit_of(path, tenant);
            if (by && by->serial < now.commit.serial &&
                (counts == now.parts.end() || *by != counts->second.commit)) {
                variables_.remove(path);
            }
        }
    }
}

} // namespace sky::vm
