// SPDX-License-Identifier: MIT
#include "sky-nomad-submit/room.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace sky::submit {
namespace {

/// A number somewhere below, 0 where Nomad has none.
std::int64_t number_at(const Json& value, const char* pointer) {
    const Json::json_pointer at(pointer);
    return value.contains(at) && value.at(at).is_number() ? value.at(at).get<std::int64_t>() : 0;
}

std::string text_of(const Json& object, const char* key) {
    const auto at = object.find(key);
    return at != object.end() && at->is_string() ? at->get<std::string>() : std::string();
}

Demand demand_of(const Json& allocation) {
    Demand most; // of tasks that live one after the other: the leader's is the larger
    const Json::json_pointer tasks("/AllocatedResources/Tasks");
    if (allocation.contains(tasks) && allocation.at(tasks).is_object()) {
        for (const auto& [name, task] : allocation.at(tasks).items()) {
            most.mhz = std::max(most.mhz, number_at(task, "/Cpu/CpuShares"));
            most.mib = std::max(most.mib, number_at(task, "/Memory/MemoryMB"));
        }
    }
    return most;
}

bool fits(const Demand& demand, const Demand& left) {
    return demand.mhz <= left.mhz && demand.mib <= left.mib;
}

/// Takes a place on the host with most memory left.
bool place(std::vector<Demand>& left, const Demand& demand) {
    const auto best =
        std::max_element(left.begin(), left.end(), [&](const Demand& a, const Demand& b) {
            return std::pair(fits(demand, a), a.mib) < std::pair(fits(demand, b), b.mib);
        });
    if (best == left.end() || !fits(demand, *best)) {
        return false;
    }
    best->mhz -= demand.mhz;
    best->mib -= demand.mib;
    return true;
}

} // namespace

Demand Room::left() const {
    Demand out = whole;
    for (const auto& [name, machine] : machines) {
        out.mhz -= machine.mhz;
        out.mib -= machine.mib;
    }
    return out;
}

std::vector<Room> rooms_of(const Json& nodes, const Json& allocations) {
    std::vector<Room> out;
    std::map<std::string, std::size_t> by_id;
    for (const Json& node : nodes) {
        Room room{.host = text_of(node, "Name"), .why_not = {}, .whole = {}, .machines = {}};
        if (text_of(node, "Status") != "ready") {
            room.why_not = text_of(node, "Status");
        } else if (text_of(node, "SchedulingEligibility") != "eligible") {
            room.why_not = "drained";
        }
        room.whole = {.mhz = number_at(node, "/NodeResources/Cpu/CpuShares") -
                             number_at(node, "/ReservedResources/Cpu/CpuShares"),
                      .mib = number_at(node, "/NodeResources/Memory/MemoryMB") -
                             number_at(node, "/ReservedResources/Memory/MemoryMB")};
        by_id[text_of(node, "ID")] = out.size();
        out.push_back(std::move(room));
    }
    for (const Json& each : allocations) {
        const auto state = text_of(each, "ClientStatus");
        const auto at = by_id.find(text_of(each, "NodeID"));
        const bool over = state == "complete" || state == "failed" || state == "lost";
        if (at != by_id.end() && !over) {
            out[at->second].machines[text_of(each, "ID")] = demand_of(each);
        }
    }
    std::sort(out.begin(), out.end(), [](const Room& a, const Room& b) { return a.host < b.host; });
    return out;
}

std::string lacking(const std::vector<Room>& rooms, const Demand& demand,
                    const std::optional<std::string>& only) {
    std::string out;
    for (const Room& room : rooms) {
        std::string why;
        const Demand left = room.left();
        if (only && room.host != *only) {
            why = "does not have its volumes";
        } else if (!room.why_not.empty()) {
            why = "is " + room.why_not;
        } else if (left.mib < demand.mib) {
            why = fmt::format("lacks {} MiB", demand.mib - left.mib);
        } else if (left.mhz < demand.mhz) {
            why = fmt::format("lacks {} MHz", demand.mhz - left.mhz);
        } else {
            why = "was not ready for it";
        }
        out += fmt::format("{}{} {}", out.empty() ? "" : ", ", room.host, why);
    }
    return out.empty() ? "there is no host" : out;
}

std::optional<std::string> not_spared(const std::vector<Room>& rooms, const Demand& demand) {
    for (const Room& lost : rooms) {
        std::vector<Demand> left;
        for (const Room& room : rooms) {
            if (room.host != lost.host && room.why_not.empty()) {
                left.push_back(room.left());
            }
        }
        std::vector<Demand> homeless{demand};
        for (const auto& [name, machine] : lost.machines) {
            homeless.push_back(machine);
        }
        std::sort(homeless.begin(), homeless.end(),
                  [](const Demand& a, const Demand& b) { return a.mib > b.mib; });
        if (!std::all_of(homeless.begin(), homeless.end(),
                         [&](const Demand& each) { return place(left, each); })) {
            return lost.host;
        }
    }
    return std::nullopt;
}

} // namespace sky::submit
