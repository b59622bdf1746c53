// SPDX-License-Identifier: MIT
#pragma once

#include "roots.hpp"

#include <sky/config.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

namespace sky::cache {

/// What the scheduler's side wants of one machine: records/T/R/M.json.
struct Wanted {
    bool gone = true;        ///< no record, or its branch was deleted
    std::set<Revision> revs; ///< that the branch, a pin or the running machine names
};

/// All records, and what this host runs, by joined machine path. Needs root. A record that can not
/// be read is an error, never nothing.
[[nodiscard]] std::map<std::string, Wanted> read_wanted(const Config& config);
[[nodiscard]] Wanted parse_wanted(std::string_view text);

struct GcOptions {
    std::optional<std::string> tenant; ///< only this one
    std::int64_t grace_s = 0;          ///< what is younger stays
    std::size_t keep = 0;              ///< pushes kept per machine besides those that are wanted
    bool check = false;                ///< hash every NAR, and let go of damaged ones
    bool dry_run = false;
};

/// Which of a machine's roots stay: wanted ones, young ones (also those that were never accepted
/// yet), and the newest `keep` unless the machine is gone.
[[nodiscard]] Roots roots_to_keep(const Roots& roots, const Wanted& wanted,
                                  const GcOptions& options, std::int64_t now);

/// Sweeps caches, records and roots of the tenants; one line per tenant on `out`:
/// {"v":1,"tenant","paths","removed_paths","removed_records","removed_bytes"}. The exit code: 1 if
/// a tenant was left alone because something of its state can not be read.
int collect_garbage(const Config& config, const std::map<std::string, Wanted>& wanted,
                    const GcOptions& options, int out);

} // namespace sky::cache
