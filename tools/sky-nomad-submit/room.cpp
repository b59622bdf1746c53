// SPDX-License-Identifier: MIT
#include <sky-nomad-submit/room.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

namespace sky::submit {
namespace {

constexpr const char* kDrained = "drained";

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

/// The hosts that take machines, without one of them.
struct Rest {
    std::vector<std::string> hosts;
    std::vector<Demand> left;

    Rest(const std::vector<Room>& rooms, const std::string& without) {
        for (const Room& room : rooms) {
            if (room.host != without && room.why_not.empty()) {
                hosts.push_back(room.host);
                left.push_back(room.left());
            }
        }
    }

    /// Takes a place on the host with most memory left.
    bool place(const Wanted& wanted) {
        std::optional<std::size_t> best;
        for (std::size_t i = 0; i < left.size(); ++i) {
            const bool may =
                (!wanted.only || *wanted.only == hosts[i]) && fits(wanted.demand, left[i]);
            if (may && (!best || left[i].mib > left[*best].mib)) {
                best = i;
            }
        }
        if (best) {
            left[*best].mhz -= wanted.demand.mhz;
            left[*best].mib -= wanted.demand.mib;
        }
        return best.has_value();
    }
};

/// Who needs a place once `lost` is gone.
std::vector<Wanted> homeless(const Room& lost, const std::vector<Wanted>& waiting) {
    std::vector<Wanted> out;
    for (const auto& [id, machine] : lost.machines) {
        if (!machine.stays) {
            out.push_back({machine.demand});
        }
    }
    std::copy_if(waiting.begin(), waiting.end(), std::back_inserter(out),
                 [&](const Wanted& each) { return each.only != lost.host; });
    std::sort(out.begin(), out.end(), [](const Wanted& a, const Wanted& b) {
        return std::pair(a.only.has_value(), a.demand.mib) >
               std::pair(b.only.has_value(), b.demand.mib); // who has no choice comes first
    });
    return out;
}

} // namespace

Demand& Demand::operator+=(const Demand& other) {
    mhz += other.mhz;
    mib += other.mib;
    return *this;
}

Demand Room::left() const {
    Demand out = whole;
    for (const auto& [name, machine] : machines) {
        out.mhz -= machine.demand.mhz;
        out.mib -= machine.demand.mib;
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
            room.why_not = kDrained;
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
            const auto type = text_of(each, "JobType");
            out[at->second].machines[text_of(each, "ID")] = {
                .demand = demand_of(each),
                .job = text_of(each, "Namespace") + "/" + text_of(each, "JobID"),
                .stays = type == "system" || type == "sysbatch"};
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

bool may_fit_soon(const std::vector<Room>& rooms, const Demand& demand,
                  const std::optional<std::string>& only) {
    return std::any_of(rooms.begin(), rooms.end(), [&](const Room& room) {
        return (!only || room.host == *only) && room.why_not != kDrained &&
               fits(demand, room.left());
    });
}

std::vector<Room> with_all_back(std::vector<Room> rooms) {
    for (Room& room : rooms) {
        if (room.why_not != kDrained) {
            room.why_not.clear();
        }
    }
    return rooms;
}

std::string Unspared::text() const {
    const auto line = [&](const char* what, std::int64_t ask, std::int64_t use, std::int64_t all) {
        return fmt::format("{} must not die: {}: asked {}, used {}, allowed {} without it", host,
                           what, ask, use, all);
    };
    const auto share = [](std::int64_t of, std::int64_t all) {
        return static_cast<double>(of) / static_cast<double>(std::max<std::int64_t>(all, 1));
    };
    const bool mhz = share(used.mhz + asked.mhz, allowed.mhz) >
                     share(used.mib + asked.mib, allowed.mib); // the scarcer of both
    const bool sums_up = used.mib + asked.mib <= allowed.mib && used.mhz + asked.mhz <= allowed.mhz;
    return (mhz ? line("mhz", asked.mhz, used.mhz, allowed.mhz)
                : line("mem_mib", asked.mib, used.mib, allowed.mib)) +
           (sums_up ? " (in pieces)" : "");
}

std::optional<Unspared> not_spared(const std::vector<Room>& rooms, const Wanted& asked,
                                   const std::vector<Wanted>& others) {
    auto waiting = others;
    waiting.push_back(asked);
    for (const Room& lost : rooms) {
        if (!lost.why_not.empty() && lost.machines.empty()) {
            continue; // nobody counts on it
        }
        Rest rest(rooms, lost.host);
        const auto all = homeless(lost, waiting);
        if (std::all_of(all.begin(), all.end(), [&](const Wanted& w) { return rest.place(w); })) {
            continue;
        }
        Unspared out{.host = lost.host, .asked = asked.demand, .used = {}, .allowed = {}};
        for (const Room& room : rooms) {
            if (room.host != lost.host && room.why_not.empty()) {
                out.allowed += room.whole;
                for (const auto& [id, machine] : room.machines) {
                    out.used += machine.demand;
                }
            }
        }
        for (const Wanted& each : homeless(lost, others)) {
            out.used += each.demand;
        }
        return out;
    }
    return std::nullopt;
}

} // namespace sky::submit
