// SPDX-License-Identifier: MIT
#include <sky-build/nix.hpp>

#include <sky/base64.hpp>
#include <sky/error.hpp>
#include <sky/json.hpp>

#include <nlohmann/json.hpp>
#include <sodium.h>

#include <algorithm>
#include <cctype>
#include <regex>

namespace sky::build {

namespace {

constexpr std::size_t kJsonCap = std::size_t{64} << 20;

std::string join(const std::vector<std::string>& words) {
    std::string text;
    for (const std::string& word : words) {
        text += (text.empty() ? "" : " ") + word;
    }
    return text;
}

std::string fetch_tree(const CellTree& tree) {
    return fmt::format("(builtins.fetchTree {{ type = \"path\"; path = {}; narHash = {}; }})",
                       nix_string(tree.path), nix_string(sri(tree.nar_hash)));
}

std::string fetch_tree(const StoreTree& tree) {
    return fetch_tree(CellTree{tree.path.str(), tree.nar_hash});
}

PathInfo path_info(const std::string& path, const Json& value) {
    if (!value.is_object() || !value.contains("narHash") || !value["narHash"].is_string()) {
        fail(ExitCode::kData, "'{}' is not valid in the cell's store", printable(path, 120));
    }
    Json size = value.value("narSize", Json());
    Json references = value.value("references", Json::array());
    if (!size.is_number_unsigned() || !references.is_array()) {
        fail(ExitCode::kData, "nix path-info has an unknown form");
    }
    PathInfo info{StorePath::parse(path),
                  parse_sri(value["narHash"].get<std::string>()),
                  size.get<std::uint64_t>(),
                  {}};
    for (const Json& reference : references) {
        info.references.push_back(StorePath::parse(string_of(reference, "references")));
    }
    std::sort(info.references.begin(), info.references.end());
    return info;
}

} // namespace

std::string without_hashes(const std::string& text) {
    static const std::regex hash("/nix/store/[0-9a-z]{32}-");
    return std::regex_replace(text, hash, "");
}

std::string nix_config(const CellConfig& cell) {
    return fmt::format("experimental-features = nix-command flakes\n"
                       "build-users-group =\n"
                       "builders =\n"
                       "build-hook = /run/build-remote\n"
                       "sandbox = true\n"
                       "sandbox-fallback = false\n"
                       "sandbox-paths = /bin/sh={}\n"
                       "substituters = {}\n"
                       "trusted-public-keys = {}\n"
                       "require-sigs = true\n"
                       "accept-flake-config = false\n"
                       "pure-eval = true\n"
                       "eval-cache = false\n"
                       "flake-registry = /etc/registry.json\n"
                       "max-jobs = {}\n"
                       "cores = 0\n"
                       "connect-timeout = 15\n"
                       "log-lines = 25\n"
                       "warn-dirty = false\n",
                       cell.shell.string(), join(cell.substituters), join(cell.trusted_keys),
                       cell.jobs == 0 ? "auto" : std::to_string(cell.jobs));
}

std::string registry_text(const std::map<std::string, StoreTree>& inputs) {
    Json flakes = Json::array();
    for (const auto& [name, tree] : inputs) {
        flakes.push_back(
            {{"from", {{"type", "indirect"}, {"id", name}}},
             {"to",
              {{"type", "path"}, {"path", tree.path.str()}, {"narHash", sri(tree.nar_hash)}}}});
    }
    return dump_json({{"version", 2}, {"flakes", flakes}}) + "\n";
}

std::string sri(const Sha256& hash) {
    return "sha256-" + base64({reinterpret_cast<const char*>(hash.data()), hash.size()});
}

Sha256 parse_sri(std::string_view text) {
    if (text.rfind("sha256:", 0) == 0) {
        return parse_nar_hash(text);
    }
    Sha256 hash{};
    std::size_t length = 0;
    const std::string_view digits = text.substr(std::min<std::size_t>(7, text.size()));
    if (text.rfind("sha256-", 0) != 0 ||
        sodium_base642bin(hash.data(), hash.size(), digits.data(), digits.size(), nullptr, &length,
                          nullptr, sodium_base64_VARIANT_ORIGINAL) != 0 ||
        length != hash.size()) {
        fail(ExitCode::kData, "not a sha256 hash: '{}'", printable(text));
    }
    return hash;
}

std::string nix_string(std::string_view text) {
    std::string result = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\' || c == '$') {
            result += '\\';
        }
        result += c;
    }
    return result + "\"";
}

std::string flake_url(const StoreTree& tree) {
    return flake_url(CellTree{tree.path.str(), tree.nar_hash});
}

std::string flake_url(const CellTree& tree) {
    std::string url = "path:" + tree.path + "?narHash=";
    for (const char c : sri(tree.nar_hash)) {
        if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-') {
            url += c;
        } else {
            url += fmt::format("%{:02X}", static_cast<unsigned char>(c));
        }
    }
    return url;
}

std::string DeployInput::key() const {
    return dump_json({{"v", 1},
                      {"source", source.path.str()},
                      {"machine", machine.str()},
                      {"index", identity.index},
                      {"machine_id", identity.machine_id},
                      {"macs", identity.macs},
                      {"root_mib", identity.root_mib},
                      {"guest", guest.path.str()},
                      {"microvm", microvm.path.str()},
                      {"customization", customization ? customization->path.str() : ""}});
}

std::string DeployInput::expression() const {
    std::string macs;
    for (const std::string& mac : identity.macs) {
        macs += nix_string(mac) + " ";
    }
    const std::string custom =
        customization ? fmt::format("\"${{{}}}/default.nix\"", fetch_tree(*customization)) : "null";
    return fmt::format(
        "let\n"
        "  deployment = (import \"${{{}}}\").deploy {{\n"
        "    flake = builtins.getFlake {};\n"
        "    machine = {};\n"
        "    identity = {{ index = {}; machineId = {}; macs = [ {}]; rootMib = {}; }};\n"
        "    microvm = builtins.getFlake {};\n"
        "    customization = {};\n"
        "  }};\n"
        "in {{ derivation = deployment.drvPath; deployment = deployment.outPath; }}",
        fetch_tree(guest), nix_string(flake_url(source)), nix_string(machine.str()), identity.index,
        nix_string(identity.machine_id), macs, identity.root_mib, nix_string(flake_url(microvm)),
        custom);
}

std::string add_expression(const std::vector<CellTree>& trees) {
    std::string list;
    for (const CellTree& tree : trees) {
        list += fetch_tree(tree) + ".outPath ";
    }
    return "[ " + list + "]";
}

std::vector<StorePath> parse_added(std::string_view json) {
    const Json value = parse_json(json, kJsonCap, "what was added to the cell's store");
    if (!value.is_array()) {
        fail(ExitCode::kSystem, "nix added trees and printed no list");
    }
    std::vector<StorePath> paths;
    for (const Json& path : value) {
        paths.push_back(StorePath::parse(string_of(path, "added")));
    }
    return paths;
}

std::string machines_expression(const CellTree& flake, const StoreTree& guest) {
    return fmt::format("{{ source = {}.outPath; machines = (import \"${{{}}}\").machines "
                       "(builtins.getFlake {}); }}",
                       fetch_tree(flake), fetch_tree(guest), nix_string(flake_url(flake)));
}

std::string inputs_expression(const CellTree& flake) {
    return fmt::format("builtins.mapAttrs (_: input: input.url or (removeAttrs input [ \"flake\" "
                       "\"inputs\" ])) ((import \"${{{}}}/flake.nix\").inputs or {{ }})",
                       fetch_tree(flake));
}

Evaluated parse_evaluated(std::string_view json) {
    const Json value = parse_json(json, kJsonCap, "the evaluation's result");
    Fields fields(value, "evaluation");
    Evaluated result{StorePath::parse(fields.string("derivation")),
                     StorePath::parse(fields.string("deployment"))};
    fields.done();
    return result;
}

std::vector<PathInfo> parse_path_info(std::string_view json) {
    const Json value = parse_json(json, kJsonCap, "nix path-info");
    std::vector<PathInfo> result;
    if (value.is_array()) {
        for (const Json& element : value) {
            if (!element.is_object() || !element.contains("path")) {
                fail(ExitCode::kData, "nix path-info has an unknown form");
            }
            result.push_back(path_info(string_of(element["path"], "path"), element));
        }
    } else if (value.is_object()) {
        for (const auto& [path, element] : value.items()) {
            result.push_back(path_info(path, element));
        }
    } else {
        fail(ExitCode::kData, "nix path-info has an unknown form");
    }
    std::sort(result.begin(), result.end(),
              [](const PathInfo& a, const PathInfo& b) { return a.path < b.path; });
    return result;
}

std::string plain_line(std::string_view line) {
    std::string result;
    for (std::size_t i = 0; i < line.size(); ++i) {
        const char c = line[i];
        if (c == '\x1b') { // CSI ... letter, or one character
            if (i + 1 < line.size() && line[i + 1] == '[') {
                i += 2;
                while (i < line.size() && std::isalpha(static_cast<unsigned char>(line[i])) == 0) {
                    ++i;
                }
            } else {
                ++i;
            }
        } else if (c == '\t') {
            result += ' ';
        } else if (line.substr(i, 3) == "\u2026") { // nix is fond of the ellipsis
            result += "...";
            i += 2;
        } else if (c != '\r' && c != '\n') {
            result += (c >= ' ' && c <= '~') ? c : '?';
        }
    }
    return result;
}

std::string essential_error(std::string_view log, std::size_t most) {
    std::string last_error;
    std::string last_line;
    std::string builder;
    while (!log.empty()) {
        const std::size_t end = std::min(log.find('\n'), log.size());
        std::string line = plain_line(log.substr(0, end));
        log.remove_prefix(std::min(end + 1, log.size()));
        line.erase(0, line.find_first_not_of(' '));
        if (line.empty()) {
            continue;
        }
        last_line = line;
        if (line.rfind("error:", 0) == 0) {
            std::string text = line.substr(6);
            text.erase(0, text.find_first_not_of(' '));
            if (text.rfind("builder for", 0) == 0 && builder.empty()) {
                builder = text;
            }
            // 2.26 opens a trace with an "error:" of its own line.
            last_error = text.empty() ? last_error : text;
        }
    }
    // What depends on a failed build fails after it; the first says more than the last.
    std::string text = !builder.empty() ? builder : !last_error.empty() ? last_error : last_line;
    text = without_hashes(text);
    while (!text.empty() && (text.back() == ';' || text.back() == ':' || text.back() == ' ')) {
        text.pop_back();
    }
    if (text.empty()) {
        text = "no reason given";
    }
    return short_text(text, most);
}

std::string short_text(std::string_view text, std::size_t most) {
    return printable(text, text.size() > most ? most - 3 : most); // the dots count
}

std::string failure_text(int exit_code, std::string_view log) {
    // Nobody else kills what is in a cell: sky-build does not wait for what it kills itself.
    constexpr int kKilled = 128 + 9;
    return exit_code == kKilled ? "killed (more memory than the cell has?)" : essential_error(log);
}

} // namespace sky::build
