// SPDX-License-Identifier: MIT
#include <sky-build/lock-file.hpp>

#include <sky/error.hpp>
#include <sky/name.hpp>

#include <nlohmann/json.hpp>

namespace sky::build {

namespace {

bool starts(std::string_view text, std::string_view prefix) {
    return text.rfind(prefix, 0) == 0;
}

bool ends(std::string_view text, std::string_view suffix) {
    return text.size() >= suffix.size() && text.substr(text.size() - suffix.size()) == suffix;
}

std::vector<std::string> split(std::string_view text, char at) {
    std::vector<std::string> parts;
    while (true) {
        const std::size_t end = text.find(at);
        parts.emplace_back(text.substr(0, end));
        if (end == std::string_view::npos) {
            return parts;
        }
        text.remove_prefix(end + 1);
    }
}

/// github:OWNER/REPO[/REF]
std::optional<Json> original_of_forge(const std::string& type, std::string_view rest) {
    const auto parts = split(rest, '/');
    if (parts.size() < 2 || parts.size() > 3 || (parts.size() == 3 && Revision::valid(parts[2]))) {
        return std::nullopt;
    }
    Json original{{"type", type}, {"owner", parts[0]}, {"repo", parts[1]}};
    if (parts.size() == 3) {
        original["ref"] = parts[2];
    }
    return original;
}

std::optional<Json> original_of_url(std::string_view url) {
    if (url.find_first_of("?#%") != std::string_view::npos) {
        return std::nullopt; // parameters: nix knows what they mean, we do not
    }
    for (const char* type : {"github", "gitlab", "sourcehut"}) {
        const std::string scheme = std::string(type) + ":";
        if (starts(url, scheme)) {
            return original_of_forge(type, url.substr(scheme.size()));
        }
    }
    if (starts(url, "https://") && (ends(url, ".tar.gz") || ends(url, ".tar.xz"))) {
        return Json{{"type", "tarball"}, {"url", std::string(url)}};
    }
    if (starts(url, "flake:")) {
        url.remove_prefix(6);
    }
    const auto parts = split(url, '/');
    if (parts.size() == 2 && url.find(':') == std::string_view::npos && !parts[0].empty() &&
        parts[0].find('.') == std::string::npos && !Revision::valid(parts[1])) {
        // ID/REF: our registry could not give another REF of a path
        return Json{{"type", "indirect"}, {"id", parts[0]}, {"ref", parts[1]}};
    }
    return std::nullopt;
}

const Json& root_node(const Json& lock) {
    static const Json none = Json::object();
    if (!lock.is_object() || !lock.contains("nodes") || !lock["nodes"].is_object()) {
        return none;
    }
    const auto root = lock.find("root");
    const std::string name =
        root != lock.end() && root->is_string() ? root->get<std::string>() : "root";
    const auto node = lock["nodes"].find(name);
    return node != lock["nodes"].end() && node->is_object() ? *node : none;
}

std::map<std::string, std::string> root_inputs_of(const Json& lock) {
    std::map<std::string, std::string> result;
    const Json& root = root_node(lock);
    const auto inputs = root.find("inputs");
    if (inputs != root.end() && inputs->is_object()) {
        for (const auto& [name, node] : inputs->items()) {
            if (node.is_string()) {
                result[name] = node.get<std::string>();
            }
        }
    }
    return result;
}

} // namespace

std::map<std::string, std::string> root_inputs(std::string_view lock) {
    return lock.empty() ? std::map<std::string, std::string>{}
                        : root_inputs_of(parse_json(lock, kLockCap, "flake.lock"));
}

std::vector<std::string> taken_from_registry(std::string_view before, std::string_view after,
                                             const std::set<std::string>& known) {
    if (after.empty() || before == after) {
        return {};
    }
    const Json lock = parse_json(after, kLockCap, "flake.lock");
    const auto old = root_inputs(before);
    std::vector<std::string> result;
    for (const auto& [name, node] : root_inputs_of(lock)) {
        const auto found = lock["nodes"].find(node);
        if (old.count(name) != 0 || found == lock["nodes"].end() || !found->is_object()) {
            continue;
        }
        const Json original = found->value("original", Json::object());
        if (original.is_object() && original.value("type", Json()) == Json("indirect") &&
            original.value("id", Json()).is_string() &&
            known.count(original["id"].get<std::string>()) != 0) {
            result.push_back(name);
        }
    }
    return result;
}

std::optional<Json> original_of(const Json& input) {
    if (input.is_string()) {
        return original_of_url(input.get<std::string>());
    }
    if (!input.is_object() || input.contains("rev") || input.contains("narHash") ||
        !input.contains("type") || input["type"] == Json("path")) {
        return std::nullopt;
    }
    if (input["type"] == Json("indirect") && !input.contains("ref")) {
        return std::nullopt; // the registry's
    }
    return input;
}

std::map<std::string, Json> replaceable(const Json& inputs, std::string_view lock,
                                        const std::set<std::string>& known) {
    std::map<std::string, Json> result;
    if (!inputs.is_object()) {
        return result;
    }
    const auto locked = root_inputs(lock);
    for (const auto& [name, input] : inputs.items()) {
        if (known.count(name) == 0 || locked.count(name) != 0) {
            continue;
        }
        if (auto original = original_of(input)) {
            result.emplace(name, std::move(*original));
        }
    }
    return result;
}

std::string with_originals(std::string_view lock, const std::map<std::string, Json>& originals) {
    Json value = parse_json(lock, kLockCap, "flake.lock");
    for (const auto& [name, node] : root_inputs_of(value)) {
        const auto original = originals.find(name);
        if (original != originals.end() && value["nodes"].contains(node) &&
            value["nodes"][node].is_object()) {
            value["nodes"][node]["original"] = original->second;
        }
    }
    return dump_json(value) + "\n";
}

} // namespace sky::build
