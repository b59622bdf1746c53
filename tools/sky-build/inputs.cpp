// SPDX-License-Identifier: MIT
#include <sky-build/inputs.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/hash.hpp>
#include <sky/log.hpp>
#include <sky/nar.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <sys/stat.h>

namespace sky::build {

namespace fs = std::filesystem;

namespace {

/// Where a path leads: nix adds what a link leads to, so that is what is hashed.
fs::path real_path(const fs::path& path) {
    std::error_code error;
    fs::path real = fs::canonical(path, error);
    if (error) {
        throw SysError(error.value(), fmt::format("cannot read '{}'", path.string()),
                       ExitCode::kConfig);
    }
    return real;
}

std::string stat_text(const fs::path& path) {
    struct stat st {};
    if (::lstat(path.c_str(), &st) != 0) {
        throw SysError(errno_now(), fmt::format("cannot read '{}'", path.string()),
                       ExitCode::kConfig);
    }
    return fmt::format("{} {:o} {} {} {}.{} {}.{}\n", path.string(), st.st_mode, st.st_size,
                       st.st_ino, st.st_mtim.tv_sec, st.st_mtim.tv_nsec, st.st_ctim.tv_sec,
                       st.st_ctim.tv_nsec);
}

constexpr const char* kCustomization = "/inputs/customization";
constexpr const char* kGuest = "/inputs/guest";

/// One of the operator's trees.
struct Wanted {
    fs::path host;
    std::string inside;    ///< where the cell sees it while it is added
    bool a_module = false; ///< a file, which becomes the default.nix of a tree
    std::string key;
    std::optional<StoreTree> tree;

    /// What is bound into the cell, and where.
    [[nodiscard]] std::pair<fs::path, std::string> bind() const {
        return {host, a_module ? inside + "/default.nix" : inside};
    }
};

std::vector<Wanted> wanted_trees(const CellConfig& config) {
    std::vector<Wanted> wanted;
    for (const auto& [name, path] : config.inputs) {
        wanted.push_back({real_path(path), "/inputs/" + name, false, {}, {}});
    }
    wanted.push_back({real_path(config.guest), kGuest, false, {}, {}});
    if (config.customization) {
        const fs::path real = real_path(*config.customization);
        wanted.push_back({real, kCustomization, !fs::is_directory(real), {}, {}});
    }
    return wanted;
}

/// The hash of a tree that holds nothing but a file, its default.nix.
CellTree hashed_module(const Wanted& wanted) {
    constexpr std::size_t kMost = std::size_t{16} << 20;
    const std::string text = read_file(wanted.host, kMost);
    const auto mode = fs::status(wanted.host).permissions();
    Hasher hasher;
    NarWriter nar([&](std::string_view data) { hasher.update(data); });
    nar.directory_begin();
    nar.entry("default.nix");
    nar.file_begin((mode & fs::perms::owner_exec) != fs::perms::none, text.size());
    nar.file_data(text);
    nar.file_end();
    nar.directory_end();
    nar.finish();
    return {wanted.inside, hasher.finish()};
}

void find_known(const Cell& cell, const Memo& memo, Wanted& wanted) {
    wanted.key = wanted.bind().second + " " + fingerprint(wanted.host);
    if (const auto known = memo.get("input", wanted.key)) {
        const auto tree = tree_from(*known);
        if (tree && in_store(cell, tree->path)) {
            wanted.tree = tree;
        }
    }
}

/// Adds all that are not known, by one nix.
void add_unknown(const Cell& cell, const Memo& memo, std::vector<Wanted>& all) {
    CellCommand command{{"/bin/nix", "eval", "--json", "--expr", ""}, false, {}};
    std::vector<Wanted*> added;
    std::vector<CellTree> trees;
    for (Wanted& each : all) {
        if (!each.tree) {
            log::say(fmt::format("-----> adding '{}' to the cell, once",
                                 fs::path(each.inside).filename().string()));
            added.push_back(&each);
            trees.push_back(each.a_module ? hashed_module(each) : hashed(each.host, each.inside));
            command.binds.push_back(each.bind());
        }
    }
    if (added.empty()) {
        return;
    }
    command.argv.back() = add_expression(trees);
    const CellResult result = cell.run(command);
    if (result.exit_code != 0) {
        fail(ExitCode::kSystem, "cannot add to the cell's store: {}",
             result.late ? "it took too long" : essential_error(result.err, 120));
    }
    const std::vector<StorePath> paths = parse_added(result.out);
    if (paths.size() != added.size()) {
        fail(ExitCode::kSystem, "nix added {} trees, not {}", paths.size(), added.size());
    }
    for (std::size_t i = 0; i < paths.size(); ++i) {
        added[i]->tree = StoreTree{paths[i], trees[i].nar_hash};
        memo.put("input", added[i]->key, tree_json(*added[i]->tree));
    }
}

} // namespace

const StoreTree& OperatorTrees::microvm() const {
    const auto found = inputs.find("microvm");
    if (found == inputs.end()) {
        fail(ExitCode::kConfig, "cell.inputs: no 'microvm' (give the path of a microvm.nix tree)");
    }
    return found->second;
}

bool in_store(const Cell& cell, const StorePath& path) {
    struct stat st {};
    return ::lstat((cell.plan().nix / "store" / path.base()).c_str(), &st) == 0;
}

CellTree hashed(const fs::path& host, std::string inside) {
    Hasher hasher;
    nar_dump(host, [&](std::string_view data) { hasher.update(data); });
    return {std::move(inside), hasher.finish()};
}

std::string fingerprint(const fs::path& path) {
    const fs::path real = real_path(path);
    if (real.string().rfind("/nix/store/", 0) == 0) {
        return real.string();
    }
    std::error_code error;
    std::vector<fs::path> paths{real};
    if (fs::is_directory(real)) {
        fs::recursive_directory_iterator it(real, error);
        for (const fs::recursive_directory_iterator end; !error && it != end; it.increment(error)) {
            paths.push_back(it->path());
        }
    }
    if (error) {
        throw SysError(error.value(), fmt::format("cannot read '{}'", path.string()),
                       ExitCode::kConfig);
    }
    std::sort(paths.begin(), paths.end());
    Hasher hasher;
    for (const fs::path& each : paths) {
        hasher.update(stat_text(each));
    }
    return nar_hash_text(hasher.finish());
}

void add_root(const Cell& cell, const char* kind, const std::string& name, const StorePath& path) {
    const auto directory = cell.plan().nix / "var/nix/gcroots" / kind;
    make_directories(directory, 0755);
    const auto link = directory / name;
    // Among what is this session's own, and is swept should it be killed.
    const auto draft = cell.plan().tmp / fmt::format("{}.{}.root", kind, name);
    std::error_code error;
    fs::remove(draft, error);
    fs::create_symlink(path.str(), draft, error);
    if (!error) {
        fs::rename(draft, link, error);
    }
    if (error) {
        throw SysError(error.value(), fmt::format("cannot write '{}'", link.string()));
    }
}

OperatorTrees add_operator_trees(const CellConfig& config, const Cell& cell, const Memo& memo) {
    std::vector<Wanted> all = wanted_trees(config);
    for (Wanted& each : all) {
        find_known(cell, memo, each);
    }
    add_unknown(cell, memo, all);
    for (const Wanted& each : all) {
        add_root(cell, kInputRoots, fs::path(each.inside).filename().string(), each.tree->path);
    }
    std::map<std::string, StoreTree> inputs;
    auto each = all.begin();
    for (const auto& [name, path] : config.inputs) {
        inputs.emplace(name, (each++)->tree.value());
    }
    OperatorTrees trees{std::move(inputs), (each++)->tree.value(), std::nullopt};
    if (config.customization) {
        trees.customization = each->tree;
    }
    return trees;
}

Json tree_json(const StoreTree& tree) {
    return {{"path", tree.path.str()}, {"nar_hash", nar_hash_text(tree.nar_hash)}};
}

std::optional<StoreTree> tree_from(const Json& value) {
    try {
        return StoreTree{StorePath::parse(string_of(value.at("path"), "path")),
                         parse_nar_hash(string_of(value.at("nar_hash"), "nar_hash"))};
    } catch (const std::exception&) {
        return std::nullopt; // a memo that can not be read is no memo
    }
}

} // namespace sky::build
