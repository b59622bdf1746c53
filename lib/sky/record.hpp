// SPDX-License-Identifier: MIT
#pragma once

#include <sky/name.hpp>
#include <sky/store-path.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace sky {

/// One store path of a closure.
struct RecordPath {
    StorePath path;
    Sha256 nar_hash;
    std::uint64_t nar_size = 0;        ///< bytes
    std::vector<StorePath> references; ///< sorted, with itself if it refers to itself
    friend bool operator==(const RecordPath&, const RecordPath&) = default;
};

/// What sky-cache-push wrote down about a deployment: doc/interfaces.md "Record of a deployment".
struct Record {
    MachinePath machine;
    Revision rev;
    BuildId build;
    std::string created; ///< RFC 3339, UTC
    StorePath deployment;
    Sha256 nar_hash; ///< of the deployment
    std::vector<RecordPath>
        closure;          ///< sorted by path, closed under references, holds the deployment
    std::string manifest; ///< JSON text of one object, unchecked otherwise

    /// The entry of `path`, or nullptr.
    [[nodiscard]] const RecordPath* find(const StorePath& path) const noexcept;
    friend bool operator==(const Record&, const Record&) = default;
};

/// Records are at most so long (bytes), and a manifest so long.
inline constexpr std::size_t kRecordCap = std::size_t{32} << 20;
inline constexpr std::size_t kManifestCap = std::size_t{1} << 20;

/// Strict. Throws Error(kData) naming the key.
[[nodiscard]] Record parse_record(std::string_view text);
/// One line of JSON with keys in a fixed order and a newline at its end: the same record gives the
/// same bytes.
[[nodiscard]] std::string print_record(const Record& record);

/// STATE/deployments/T/R/M/REV.json
[[nodiscard]] std::filesystem::path record_path(const std::filesystem::path& state,
                                                const MachinePath& machine, const Revision& rev);
/// Reads and parses it, and checks that it is about `machine` and `rev`. Error(kRefused) if there
/// is none.
[[nodiscard]] Record load_record(const std::filesystem::path& state, const MachinePath& machine,
                                 const Revision& rev);

} // namespace sky
