// SPDX-License-Identifier: MIT
#include <sky-shell/table.hpp>

#include <sky/json.hpp>
#include <sky/name.hpp>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace sky::shell {

Table::Table(std::vector<std::string> head) {
    row(std::move(head));
}

void Table::row(std::vector<std::string> cells) {
    for (auto& cell : cells) {
        cell = printable(cell, 200);
    }
    rows_.push_back(std::move(cells));
}

std::string Table::text() const {
    std::vector<std::size_t> widths(rows_.front().size(), 0);
    for (const auto& row : rows_) {
        for (std::size_t i = 0; i < row.size(); ++i) {
            widths.at(i) = std::max(widths.at(i), row[i].size());
        }
    }
    std::string out;
    for (const auto& row : rows_) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); ++i) {
            line += row[i];
            line.append(widths.at(i) - row[i].size() + 2, ' ');
        }
        line.erase(line.find_last_not_of(' ') + 1);
        out += line + "\n";
    }
    return out;
}

std::string status_table(const std::vector<Json>& machines) {
    Table table({"MACHINE", "BRANCH", "RUNS", "STATE", "HOST", "ADDRESS", "SINCE", "WHY"});
    const auto cell = [](const std::optional<std::string>& text) { return text.value_or("-"); };
    for (const auto& machine : machines) {
        Fields fields(machine, "status");
        std::string addresses;
        fields.each(
            "address",
            [&](const Json& value, const std::string& path) {
                addresses += (addresses.empty() ? "" : ",") + string_of(value, path);
            },
            true);
        table.row({fields.string("machine"), cell(fields.optional_string("branch")).substr(0, 8),
                   cell(fields.optional_string("rev")).substr(0, 8), fields.string("state"),
                   cell(fields.optional_string("host")), addresses.empty() ? "-" : addresses,
                   cell(fields.optional_string("since")),
                   fields.optional_string("why").value_or("")});
    }
    return table.text();
}

} // namespace sky::shell
