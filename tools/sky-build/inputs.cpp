// SPDX-License-Identifier: MIT
#include <sky-build/inputs.hpp>

#include <sky/error.hpp>
#include <sky/hash.hpp>
#include <sky/log.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <sys/stat.h>

namespace sky::build {

namespace fs = std::filesystem;

namespace {

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

/// `host` in the cell's store; `inside` is where the cell sees it while it is added.
StoreTree add_operator_tree(const Cell& cell, const Memo& memo, const fs::path& host,
                            const std::string& directory, const std::string& inside) {
    const std::string key = inside + " " + fingerprint(host);
    if (const auto known = memo.get("input", key)) {
        const auto tree = tree_from(*known);
        if (tree && in_store(cell, tree->path)) {
            return *tree;
        }
    }
    log::say(fmt::format("-----> adding '{}' to the cell, once", host.filename().string()));
    StoreTree tree = add_to_store(cell, directory, {{host, inside}});
    memo.put("input", key, tree_json(tree));
    return tree;
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

StoreTree add_to_store(const Cell& cell, const std::string& inside,
                       const std::vector<std::pair<fs::path, std::string>>& binds) {
    const CellResult added =
        cell.run({{"/bin/nix", "store", "add-path", "--name", "source", inside}, false, binds});
    std::string path = added.out;
    while (!path.empty() && path.back() == '\n') {
        path.pop_back();
    }
    if (added.exit_code != 0 || path.empty()) {
        fail(ExitCode::kSystem, "cannot add to the cell's store: {}",
             added.late ? "it took too long" : essential_error(added.err, 120));
    }
    const CellResult info = cell.run({{"/bin/nix", "path-info", "--json", path}, false, {}});
    if (info.exit_code != 0) {
        fail(ExitCode::kSystem, "cannot ask the cell's store: {}", essential_error(info.err, 120));
    }
    const auto infos = parse_path_info(info.out);
    if (infos.size() != 1) {
        fail(ExitCode::kSystem, "nix path-info speaks of {} paths, not of one", infos.size());
    }
    return {infos.front().path, infos.front().nar_hash};
}

std::string fingerprint(const fs::path& path) {
    std::error_code error;
    const fs::path real = fs::canonical(path, error);
    if (error) {
        throw SysError(error.value(), fmt::format("cannot read '{}'", path.string()),
                       ExitCode::kConfig);
    }
    if (real.string().rfind("/nix/store/", 0) == 0) {
        return real.string();
    }
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

OperatorTrees add_operator_trees(const CellConfig& config, const Cell& cell, const Memo& memo) {
    std::map<std::string, StoreTree> inputs;
    for (const auto& [name, path] : config.inputs) {
        const std::string inside = "/inputs/" + name;
        inputs.emplace(name, add_operator_tree(cell, memo, path, inside, inside));
    }
    StoreTree guest = add_operator_tree(cell, memo, config.guest, "/inputs/guest", "/inputs/guest");
    OperatorTrees trees{std::move(inputs), std::move(guest), std::nullopt};
    if (config.customization) {
        // A module alone becomes a tree of one file; a directory brings its default.nix.
        const std::string directory = "/inputs/customization";
        const bool whole = fs::is_directory(*config.customization);
        trees.customization = add_operator_tree(cell, memo, *config.customization, directory,
                                                whole ? directory : directory + "/default.nix");
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
