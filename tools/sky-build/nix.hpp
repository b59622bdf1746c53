// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>
#include <sky/name.hpp>
#include <sky/store-path.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// What we say to nix and what it says to us: texts only, no processes. Versions 2.8 to 2.26.
namespace sky::build {

/// A source tree in the cell's store.
struct StoreTree {
    StorePath path;
    Sha256 nar_hash;
};

/// A tree as a program in the cell finds it, not in the store yet.
struct CellTree {
    std::string path;
    Sha256 nar_hash;
};

/// What nix knows of a valid path.
struct PathInfo {
    StorePath path;
    Sha256 nar_hash;
    std::uint64_t nar_size = 0; ///< bytes
    std::vector<StorePath> references;
};

/// What sky-nomad-submit said about a machine; it goes into the evaluation.
struct Identity {
    std::int64_t index = 0;
    std::string machine_id;
    std::vector<std::string> macs;
    std::int64_t root_mib = 0;
};

/// The text of NIX_CONFIG in a cell.
[[nodiscard]] std::string nix_config(const CellConfig& cell);

/// A flake registry that knows the operator's inputs and nothing else.
[[nodiscard]] std::string registry_text(const std::map<std::string, StoreTree>& inputs);

/// A hash as "sha256-BASE64", the form of narHash attributes; and the reverse, which takes
/// "sha256:NIX32" too. parse_sri throws Error(kData).
[[nodiscard]] std::string sri(const Sha256& hash);
[[nodiscard]] Sha256 parse_sri(std::string_view text);

/// A nix string literal.
[[nodiscard]] std::string nix_string(std::string_view text);

/// "path:/nix/store/...-source?narHash=...", percent-encoded.
[[nodiscard]] std::string flake_url(const StoreTree& tree);
[[nodiscard]] std::string flake_url(const CellTree& tree);

/// All that decides what a machine's deployment is.
struct DeployInput {
    StoreTree source;
    Machine machine;
    Identity identity;
    StoreTree guest;
    StoreTree microvm;
    std::optional<StoreTree> customization; ///< a tree with default.nix

    /// The same text for the same outcome: what the memo is keyed by.
    [[nodiscard]] std::string key() const;
    /// Evaluates to `{ derivation, deployment }`: store paths. (nix prints a set with an outPath as
    /// that path.)
    [[nodiscard]] std::string expression() const;
};

/// Adds the trees to the cell's store; evaluates to the list of their paths there.
[[nodiscard]] std::string add_expression(const std::vector<CellTree>& trees);
/// That list. Throws Error(kSystem).
[[nodiscard]] std::vector<StorePath> parse_added(std::string_view json);

/// Adds a flake, all of whose inputs are locked, to the cell's store; evaluates to
/// `{ source, machines }`: its path there, and its machines.
[[nodiscard]] std::string machines_expression(const CellTree& flake, const StoreTree& guest);

/// Evaluates to the inputs that a flake.nix declares: name to URL or attributes.
[[nodiscard]] std::string inputs_expression(const CellTree& flake);

/// What a deployment's expression gave.
struct Evaluated {
    StorePath derivation;
    StorePath deployment;
};
/// Throws Error(kData).
[[nodiscard]] Evaluated parse_evaluated(std::string_view json);

/// The output of `nix path-info --json`: an array (2.8) or an object by path (2.19 and later).
/// Throws Error(kData), for a path that is not valid too.
[[nodiscard]] std::vector<PathInfo> parse_path_info(std::string_view json);

/// The line of nix's stderr that says what went wrong, without "error:", store hashes and anything
/// but printable ASCII, at most `most` characters.
[[nodiscard]] std::string essential_error(std::string_view log, std::size_t most = 60);

/// printable() in at most `most` characters, its dots counted.
[[nodiscard]] std::string short_text(std::string_view text, std::size_t most);

/// Why a command of nix's failed that ended with `exit_code`: essential_error(), or that it was
/// killed.
[[nodiscard]] std::string failure_text(int exit_code, std::string_view log);

/// "/nix/store/HASH-foo.drv" says no more to people than "foo.drv".
[[nodiscard]] std::string without_hashes(const std::string& text);

/// `line` without escape sequences, carriage returns and control characters.
[[nodiscard]] std::string plain_line(std::string_view line);

} // namespace sky::build
