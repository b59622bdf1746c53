// SPDX-License-Identifier: MIT
#include <sky-shell/refs.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>

#include <set>
#include <string>
#include <system_error>

namespace sky::shell {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kHeads = "refs/heads/";
constexpr std::size_t kMostPacked = 64U << 20U;

[[noreturn]] void damaged(std::string_view what) {
    fail(ExitCode::kIo, "repository damaged: {} (nothing was changed; ask the operator)", what);
}

Machine machine_of(std::string_view name) {
    if (!Machine::valid(name)) {
        damaged(fmt::format("branch '{}' is no machine name", printable(name)));
    }
    return Machine::parse(name);
}

Revision revision_of(std::string_view text, std::string_view branch) {
    if (!Revision::valid(text)) {
        damaged(fmt::format("branch '{}' holds no commit", printable(branch)));
    }
    return Revision::parse(text);
}

/// Names of the loose branches. git's own lock files are not branches.
std::set<std::string> loose_names(const fs::path& heads) {
    std::error_code error;
    std::set<std::string> names;
    for (fs::directory_iterator at(heads, error), end; !error && at != end; at.increment(error)) {
        const std::string name = at->path().filename().string();
        if (!name.ends_with(".lock")) {
            names.insert(name);
        }
    }
    if (error) {
        fail(ExitCode::kIo, "cannot read '{}': {}", heads.string(), error.message());
    }
    return names;
}

} // namespace

Branches parse_packed_refs(std::string_view text) {
    Branches branches;
    while (!text.empty()) {
        const auto end = text.find('\n');
        if (end == std::string_view::npos) {
            damaged("packed-refs ends in the middle of a line");
        }
        const auto line = text.substr(0, end);
        text.remove_prefix(end + 1);
        if (line.starts_with('#') || line.starts_with('^')) {
            continue; // header, or what an annotated tag points to
        }
        if (line.size() < 42 || line[40] != ' ') {
            damaged("a line of packed-refs is no ref");
        }
        const auto ref = line.substr(41);
        if (ref.starts_with(kHeads)) {
            const auto name = ref.substr(kHeads.size());
            branches.insert_or_assign(machine_of(name), revision_of(line.substr(0, 40), name));
        }
    }
    return branches;
}

Branches read_branches(const fs::path& repo) {
    if (!fs::is_regular_file(repo / "HEAD") || !fs::is_directory(repo / "objects")) {
        damaged("'" + repo.filename().string() + "' is no git repository");
    }
    // Loose before packed, as git does: a ref that pack-refs moves in between is then seen in the
    // second place; and a loose one beats a packed one.
    Branches loose;
    for (const auto& name : loose_names(repo / "refs/heads")) {
        const auto text = read_file_if_exists(repo / "refs/heads" / name, 4096);
        if (!text) {
            continue; // deleted, or packed, since the directory was read
        }
        std::string_view id = *text;
        while (id.ends_with('\n')) {
            id.remove_suffix(1);
        }
        loose.insert_or_assign(machine_of(name), revision_of(id, name));
    }
    const auto packed = read_file_if_exists(repo / "packed-refs", kMostPacked);
    Branches all = parse_packed_refs(packed.value_or(""));
    for (const auto& [machine, revision] : loose) {
        all.insert_or_assign(machine, revision);
    }
    return all;
}

} // namespace sky::shell
