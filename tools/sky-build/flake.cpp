// SPDX-License-Identifier: MIT
#include <sky-build/flake.hpp>

#include <sky-build/lock-file.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/scratch.hpp>

#include <nlohmann/json.hpp>

#include <cerrno>
#include <fcntl.h>
#include <set>
#include <unistd.h>

namespace sky::build {

namespace {

/// flake.lock of a tree that the tenant wrote, or "" if it is no regular file in there.
std::string read_lock(int tree) {
    try {
        const Fd fd = open_beneath(tree, "flake.lock", O_RDONLY | O_NONBLOCK);
        return read_all(fd.get(), kLockCap, "flake.lock");
    } catch (const SysError&) {
        return {};
    }
}

/// Puts another flake.lock in the place of nix's.
void write_lock(int tree, const std::string& text) {
    if (::unlinkat(tree, "flake.lock", 0) != 0) {
        fail_errno("cannot replace flake.lock");
    }
    const Fd fd(::openat(tree, "flake.lock", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (!fd) {
        fail_errno("cannot write flake.lock");
    }
    write_all(fd.get(), text);
}

[[noreturn]] void fail_nix(const CellResult& result, std::chrono::seconds limit) {
    throw FlakeError(result.late ? fmt::format("evaluation took longer than {} s", limit.count())
                                 : failure_text(result.exit_code, result.err),
                     result.err);
}

std::vector<std::string> strings_of(const Json& value, const char* key) {
    std::vector<std::string> result;
    for (const Json& each : value.value(key, Json::array())) {
        result.push_back(string_of(each, key));
    }
    return result;
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
    return Source{*tree, strings_of(*value, "from_registry"), strings_of(*value, "machines")};
}

std::string eval(const Cell& cell, const std::string& expression, bool network,
                 std::chrono::seconds limit) {
    CellOptions options;
    options.limit = limit;
    const CellResult result =
        cell.run({{"/bin/nix", "eval", "--json", "--expr", expression}, network, {}}, options);
    if (result.exit_code != 0) {
        fail_nix(result, limit);
    }
    return result.out;
}

/// What flake.nix says of its inputs: name to URL or attributes. The tree is in the store for this,
/// where pure evaluation may read it; nix puts it there while locking all the same.
Json declared_inputs(const Cell& cell, const CellTree& flake, std::chrono::seconds limit) {
    return parse_json(eval(cell, inputs_expression(flake), false, limit), kLockCap,
                      "the flake's inputs");
}

std::set<std::string> names_of(const std::map<std::string, StoreTree>& trees) {
    std::set<std::string> names;
    for (const auto& [name, tree] : trees) {
        names.insert(name);
    }
    return names;
}

/// Completes the lock file of the tree at `directory`. Returns the inputs that are the operator's.
std::vector<std::string> lock_inputs(const Cell& cell, int directory, const CellTree& flake,
                                     const OperatorTrees& trees, std::chrono::seconds limit) {
    const std::string before = read_lock(directory);
    const std::set<std::string> known = names_of(trees.inputs);
    const auto replaced = replaceable(declared_inputs(cell, flake, limit), before, known);
    CellCommand lock{{"/bin/nix", "flake", "lock", "path:" + flake.path}, true, {}};
    for (const auto& [name, original] : replaced) {
        lock.argv.insert(lock.argv.end(),
                         {"--override-input", name, flake_url(trees.inputs.at(name))});
    }
    CellOptions options;
    options.limit = limit;
    const CellResult result = cell.run(lock, options);
    if (result.exit_code != 0) {
        fail_nix(result, limit);
    }
    const std::string after = read_lock(directory);
    auto taken = taken_from_registry(before, after, known);
    if (!replaced.empty()) {
        // nix wrote down that these were overridden; for flake.nix they are what it asked for.
        write_lock(directory, with_originals(after, replaced));
        for (const auto& [name, original] : replaced) {
            taken.push_back(name);
        }
    }
    return taken;
}

} // namespace

Source prepare_source(const Cell& cell, const Memo& memo, const std::function<Repository()>& open,
                      const std::string& tree, const OperatorTrees& trees,
                      std::chrono::seconds limit) {
    const std::string key =
        fmt::format("{} {} {}", tree, trees.guest.path.str(), registry_text(trees.inputs));
    if (auto known = known_source(memo, cell, key)) {
        return *known;
    }
    const Repository repo = open();
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
    auto taken = lock_inputs(cell, directory.get(), hashed(host, inside), trees, limit);
    const CellTree flake = hashed(host, inside);
    const Json said = parse_json(eval(cell, machines_expression(flake, trees.guest), true, limit),
                                 kLockCap, "the flake");
    Fields fields(said, "flake");
    Source source{
        {StorePath::parse(fields.string("source")), flake.nar_hash}, std::move(taken), {}};
    fields.each("machines", [&](const Json& machine, const std::string& where) {
        source.machines.push_back(string_of(machine, where));
    });
    remove_tree(host);
    Json value = tree_json(source.tree);
    value["from_registry"] = source.from_registry;
    value["machines"] = source.machines;
    memo.put("source", key, value);
    return source;
}

} // namespace sky::build
