// SPDX-License-Identifier: MIT
#pragma once

#include "sky-nomad-submit/machine-record.hpp"

#include <sky/config.hpp>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sky::submit {

/// From `at` on a machine holds `amount`: a line of records/T/R/M.usage.
struct Mark {
    std::int64_t at = 0; ///< seconds since 1970
    Amount amount;
    bool operator==(const Mark&) const = default;
    /// Strict. Error(kData).
    [[nodiscard]] static Mark parse(std::string_view line);
    [[nodiscard]] std::string dump() const;
};

/// What a machine was granted, in seconds of each unit.
struct Used {
    std::uint64_t vcpu_s = 0;
    std::uint64_t mem_mib_s = 0;
    std::uint64_t disk_mib_s = 0;
    Used& operator+=(const Used& other);
    bool operator==(const Used&) const = default;
};

/// What was held from `from` to `to`. Marks in the order in which they were made; a clock that was
/// set back takes nothing away. Pure.
[[nodiscard]] Used used_between(const std::vector<Mark>& marks, std::int64_t from, std::int64_t to);

/// What a record holds of its tenant's quota: processors and memory while the machine runs or
/// shall run, its disk always.
[[nodiscard]] Amount held_by(const MachineRecord& record);

/// The accounts: beside each machine's record a file that is only ever appended to, under the
/// machine's lock, and outlives the record. It is the source of truth for `usage`; the granted
/// amounts in the records are that for quotas.
class UsageBook {
  public:
    explicit UsageBook(std::filesystem::path shared) : shared_(std::move(shared)) {}

    /// From now on `amount`, on disk when it returns. Nothing if that was so already.
    void note(const MachinePath& path, const Amount& amount) const;
    [[nodiscard]] std::vector<Mark> marks(const MachinePath& path) const;
    /// All that a tenant's machines held, those of deleted branches too.
    [[nodiscard]] Used of_tenant(const Tenant& tenant, std::int64_t from, std::int64_t to) const;
    /// Machines with an account and no record: of deleted branches.
    [[nodiscard]] std::vector<MachinePath> left_behind(const Tenant& tenant) const;

  private:
    [[nodiscard]] std::filesystem::path file(const MachinePath& path) const;
    std::filesystem::path shared_;
};

/// UsageBook of machines without a record, against what the registry still keeps for them. False:
/// some could not be, which was said.
[[nodiscard]] bool settle_accounts(const Config& config);

/// For operators: a line per tenant, a table on a terminal. `since`, `until`: RFC 3339, or a date.
int usage(const Config& config, const std::optional<std::string>& since,
          const std::optional<std::string>& until, bool json);

} // namespace sky::submit
