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
constexpr const char* kParts = "sky/registry/part/";
constexpr std::size_t kVariableBytes = 65'000; ///< of Nomad's 65,536, less the item's key
constexpr int kPiecesMax = 1000;

std::string parts_of(const std::string& tenant) {
    return kParts + tenant + "/";
}

std::string piece_path(const std::string& tenant, const Registry::Commit& commit,
                       std::uint32_t piece) {
    return fmt::format("{}{}-{}-{}", parts_of(tenant), commit.serial, commit.by, piece);
}

std::string tenant_of(const std::string& path) {
    const auto name = path.substr(std::min(path.size(), std::string_view(kParts).size()));
    return name.substr(0, name.find('/'));
}

/// The change that wrote a piece, and its serial; nothing for a path that is none of ours.
std::optional<Registry::Commit> commit_of(const std::string& path, const std::string& tenant) {
    Registry::Commit commit;
    const std::string name = path.substr(std::min(path.size(), parts_of(tenant).size()));
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

/// Without what the head says of it.
Registry bare(const Registry& registry) {
    Registry out = registry;
    out.commit = {};
    out.next_index = 1;
    return out;
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
    if (fields.has("registry")) {
        head.whole = Registry::parse(dump_json(fields.any("registry")));
    }
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
    if (whole) {
        out["registry"] = parse_json(whole->dump(), kVariableBytes, kHead);
    }
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
        Registry out = head.head.whole.value_or(Registry{});
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
    if (Registry whole = bare(next); whole.dump().size() <= kRegistryPieceBytes) {
        head.whole = std::move(whole);
    }
    for (const auto& tenant : head.whole ? std::set<std::string>{} : tenants_in(next)) {
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
    // What was written stays for sweep(): an answer that got lost may have made it count.
    if (!done || !variables_.write(kHead, text, before ? before->index : 0)) {
        fail(ExitCode::kBusy, "another host changed the registry meanwhile (again)");
    }
    next.commit = head.commit;
}

void RegistryVariables::sweep(const RegistryHead& head) {
    for (const auto& path : variables_.list(kParts)) {
        const auto tenant = tenant_of(path);
        const auto by = commit_of(path, tenant);
        const auto counts = head.parts.find(tenant);
        if (by && by->serial <= head.commit.serial &&
            (counts == head.parts.end() || *by != counts->second.commit)) {
            variables_.remove(path);
        }
    }
}

} // namespace sky::vm
