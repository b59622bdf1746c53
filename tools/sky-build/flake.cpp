// SPDX-License-Identifier: MIT
#include <sky-build/flake.hpp>

#include <sky-build/scratch.hpp>
#include <sky/error.hpp>
#include <sky/fd.hpp>

#include <nlohmann/json.hpp>

#include <cerrno>
#include <fcntl.h>

namespace sky::build {

namespace {

constexpr std::size_t kLockCap = std::size_t{4} << 20;

/// flake.lock of a tree that the tenant wrote, or "" if it is no regular file in there.
std::string read_lock(int tree) {
    try {
        const Fd fd = open_beneath(tree, "flake.lock", O_RDONLY | O_NONBLOCK);
        return read_all(fd.get(), kLockCap, "flake.lock");
    } catch (const SysError&) {
        return {};
    }
}

/// Root inputs of a lock file: name to node name; `follows` lists are left out.
std::map<std::string, std::string> root_inputs(const Json& lock) {
    std::map<std::string, std::string> result;
    const Json nodes = lock.value("nodes", Json::object());
    const std::string root = lock.value("root", std::string("root"));
    if (nodes.is_object() && nodes.contains(root) && nodes[root].is_object()) {
        const Json inputs = nodes[root].value("inputs", Json::object());
        for (const auto& [name, node] : inputs.items()) {
            if (node.is_string()) {
                result[name] = node.get<std::string>();
            }
        }
    }
    return result;
}

[[noreturn]] void fail_nix(const CellResult& result, std::chrono::seconds limit) {
    throw FlakeError(result.late ? fmt::format("evaluation took longer than {} s", limit.count())
                                 : essential_error(result.err),
                     result.err);
}

std::optional<Source> known_source(const Memo& memo, const Cell& cell, const std::string& key) {
    const auto value = memo.get("source", key);
    if (!value) {
        return std::nullopt;
    }
    const auto tree = tree_from(*value);
    if (!tree || !in_store(cell, tree->path)) {
        return std::nullopt;
    }
    Source source{*tree, {}};
    for (const Json& name : value->value("from_registry", Json::array())) {
        source.from_registry.push_back(string_of(name, "from_registry"));
    }
    return source;
}

/// Completes the lock file of the tree at `directory`, which the cell sees as `inside`.
std::vector<std::string> lock_inputs(const Cell& cell, int directory, const std::string& inside,
                                     const OperatorTrees& trees, std::chrono::seconds limit) {
    const std::string before = read_lock(directory);
    CellOptions options;
    options.limit = limit;
    const CellResult result =
        cell.run({{"/bin/nix", "flake", "lock", "path:" + inside}, true, {}}, options);
    if (result.exit_code != 0) {
        fail_nix(result, limit);
    }
    std::set<std::string> known;
    for (const auto& [name, tree] : trees.inputs) {
        known.insert(name);
    }
    return taken_from_registry(before, read_lock(directory), known);
}

} // namespace

std::vector<std::string> taken_from_registry(std::string_view before, std::string_view after,
                                             const std::set<std::string>& known) {
    if (after.empty() || before == after) {
        return {};
    }
    const Json lock = parse_json(after, kLockCap, "flake.lock");
    const auto old = before.empty() ? std::map<std::string, std::string>{}
                                    : root_inputs(parse_json(before, kLockCap, "flake.lock"));
    std::vector<std::string> result;
    for (const auto& [name, node] : root_inputs(lock)) {
        const Json& nodes = lock.at("nodes");
        if (old.count(name) != 0 || !nodes.contains(node) || !nodes[node].is_object()) {
            continue;
        }
        const Json original = nodes[node].value("original", Json::object());
        if (original.is_object() && original.value("type", Json()) == Json("indirect") &&
            original.value("id", Json()).is_string() &&
            known.count(original["id"].get<std::string>()) != 0) {
            result.push_back(name);
        }
    }
    return result;
}

Source prepare_source(const Cell& cell, const Memo& memo, const Repository& repo,
                      const Revision& rev, const OperatorTrees& trees, std::chrono::seconds limit) {
    const std::string tree = repo.tree_of(rev);
    const std::string key = tree + " " + registry_text(trees.inputs);
    if (auto known = known_source(memo, cell, key)) {
        return *known;
    }
    if (!repo.read_tree(tree, std::nullopt).flake) {
        throw FlakeError("no flake.nix at the top of this commit", "");
    }
    const std::string name = "source-" + tree;
    const std::filesystem::path host = cell.plan().tmp / name;
    remove_tree(host); // of a machine of the same push that failed
    make_directories(host, 0755);
    const Fd directory = open_file(host, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    repo.read_tree(tree, directory.get());
    const std::string inside = "/tmp/" + name;
    std::vector<std::string> taken = lock_inputs(cell, directory.get(), inside, trees, limit);
    Source source{add_to_store(cell, inside), std::move(taken)};
    remove_tree(host);
    Json value = tree_json(source.tree);
    value["from_registry"] = source.from_registry;
    memo.put("source", key, value);
    return source;
}

std::vector<std::string> machine_names(const Cell& cell, const Memo& memo, const StoreTree& source,
                                       const StoreTree& guest, std::chrono::seconds limit) {
    const std::string key = source.path.str() + " " + guest.path.str();
    auto value = memo.get("names", key);
    if (!value) {
        CellOptions options;
        options.limit = limit;
        const CellResult result = cell.run(
            {{"/bin/nix", "eval", "--json", "--expr", names_expression(source, guest)}, true, {}},
            options);
        if (result.exit_code != 0) {
            fail_nix(result, limit);
        }
        value = parse_json(result.out, kLockCap, "the flake's machines");
        if (!value->is_array()) {
            fail(ExitCode::kSystem, "the guest module's 'machines' is no list");
        }
        memo.put("names", key, *value);
    }
    std::vector<std::string> names;
    for (const Json& name : *value) {
        names.push_back(string_of(name, "machines"));
    }
    return names;
}

} // namespace sky::build
