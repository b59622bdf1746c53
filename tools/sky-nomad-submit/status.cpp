// SPDX-License-Identifier: MIT
#include <sky-nomad-submit/status.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>

namespace sky::submit {
namespace {

/// A tenant needs fewer words than the scheduler has.
std::string public_state(const MachineState* seen, const MachineRecord* record) {
    const bool failed = record != nullptr && record->did.state == MachineRecord::State::kFailed;
    if (seen == nullptr || seen->state == "stopped") {
        return failed ? "failed" : "stopped";
    }
    if (seen->state == "ready") {
        return "running";
    }
    if (seen->state == "fetching" || seen->state == "running") {
        return "starting";
    }
    return seen->state; // starting, backoff, failed
}

std::optional<std::string> reason(const MachineState* seen, const MachineRecord* record,
                                  const std::string& state) {
    if (record == nullptr) {
        return seen != nullptr && seen->why ? seen->why : "not started yet";
    }
    const bool waits = state == "backoff" || state == "failed" || state == "starting";
    if (waits && seen != nullptr && seen->why) {
        return seen->why;
    }
    if (record->did.why) {
        return record->did.why;
    }
    if (!record->want_running) {
        return "stopped on request";
    }
    if (record->pin) {
        return record->pin->why;
    }
    return seen != nullptr ? seen->why : std::nullopt;
}

Row row_of(const MachinePath& path, const std::optional<Revision>& branch,
           const MachineRecord* record, const MachineState* seen, const std::string& host) {
    Row row{.machine = path.repo.str() + "/" + path.machine.str(),
            .branch = branch,
            .rev = std::nullopt,
            .state = public_state(seen, record),
            .host = seen != nullptr ? seen->host.value_or(host) : host,
            .since = std::nullopt,
            .address = {},
            .restarts = 0,
            .why = std::nullopt};
    if (record != nullptr) {
        row.rev = record->did.rev;
        row.since = record->did.at;
    }
    if (seen != nullptr) {
        // The host keeps the name that the system had when it was started; a later commit with the
        // same system is what runs all the same.
        const bool same = record != nullptr && record->did.spec && record->did.spec == seen->spec &&
                          record->did.state == MachineRecord::State::kRunning;
        row.rev = seen->rev && !same ? seen->rev : row.rev;
        row.since = seen->since ? seen->since : row.since;
        row.restarts = seen->restarts;
        if (seen->is_up()) {
            row.address = seen->address;
        }
    }
    row.why = reason(seen, record, row.state);
    return row;
}

std::string short_rev(const std::optional<Revision>& rev) {
    return rev ? rev->str().substr(0, 7) : "-";
}

} // namespace

Json Row::json() const {
    return {{"machine", machine},
            {"branch", branch ? Json(branch->str()) : Json(nullptr)},
            {"rev", rev ? Json(rev->str()) : Json(nullptr)},
            {"state", state},
            {"host", host},
            {"since", since ? Json(*since) : Json(nullptr)},
            {"address", address},
            {"restarts", restarts},
            {"why", why ? Json(*why) : Json(nullptr)}};
}

std::vector<Row> join_status(const Tenant& tenant, const Repo& repo, const Branches& branches,
                             const Records::All& records, const std::vector<MachineState>& seen,
                             const std::string& host, const std::optional<Machine>& only) {
    std::set<Machine> machines;
    for (const auto& [name, rev] : branches) {
        if (Machine::valid(name)) {
            machines.insert(Machine::parse(name));
        }
    }
    for (const auto& [path, record] : records) {
        if (path.tenant == tenant && path.repo == repo) {
            machines.insert(path.machine);
        }
    }
    std::vector<Row> rows;
    for (const Machine& machine : machines) {
        if (only && *only != machine) {
            continue;
        }
        const MachinePath path{tenant, repo, machine};
        const auto branch = branches.find(machine.str());
        const auto record = records.find(path);
        const auto state = std::find_if(seen.begin(), seen.end(),
                                        [&](const MachineState& s) { return s.path == path; });
        rows.push_back(
            row_of(path, branch == branches.end() ? std::nullopt : std::optional(branch->second),
                   record == records.end() ? nullptr : &record->second,
                   state == seen.end() ? nullptr : &*state, host));
    }
    return rows;
}

std::string status_table(const std::vector<Row>& rows) {
    constexpr std::size_t kColumns = 6;
    std::vector<std::array<std::string, kColumns>> cells{
        {"MACHINE", "STATE", "REV", "BRANCH", "ADDRESS", "SINCE"}};
    for (const Row& row : rows) {
        cells.push_back({row.machine, row.state, short_rev(row.rev), short_rev(row.branch),
                         row.address.empty() ? "-" : row.address.front(), row.since.value_or("-")});
    }
    std::array<std::size_t, kColumns> widths{};
    for (const auto& line : cells) {
        for (std::size_t i = 0; i < kColumns; ++i) {
            widths.at(i) = std::max(widths.at(i), line.at(i).size());
        }
    }
    std::string out;
    for (std::size_t n = 0; n < cells.size(); ++n) {
        for (std::size_t i = 0; i < kColumns; ++i) {
            out += fmt::format("{:<{}}{}", cells[n].at(i), i + 1 < kColumns ? widths.at(i) : 0,
                               i + 1 < kColumns ? "  " : "\n");
        }
        if (n > 0 && rows[n - 1].why) {
            out += fmt::format("  {}\n", *rows[n - 1].why);
        }
    }
    return out;
}

} // namespace sky::submit
