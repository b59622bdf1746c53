// SPDX-License-Identifier: MIT
#include <sky-nomad-submit/nomad-job.hpp>

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/nomad/client.hpp>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace sky::submit {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000; ///< Nomad's durations are nanoseconds
constexpr std::int64_t kForEver = 10 * 365 * std::int64_t{24} * 3600 * kSecond;
constexpr std::int64_t kKillSlack = 15; ///< seconds beyond stop_s: what sky-vm-run needs at most
constexpr std::int64_t kLogMib = 10;
constexpr std::int64_t kPriority = 50; ///< Nomad's own default

Json task(const Config& config, const char* name, const char* verb, const MachinePath& path) {
    return {{"Name", name},
            {"Driver", "raw_exec"},
            {"Config",
             {{"command", config.tool("sky-vm-run").string()},
              {"args", {"--config", config.file.string(), verb, path.joined()}}}},
            {"LogConfig", {{"MaxFiles", 2}, {"MaxFileSizeMB", kLogMib}}}};
}

Json leader(const Config& config, const Spec& spec) {
    Json out = task(config, "vm", "run", spec.path);
    out["Leader"] = true;
    out["KillSignal"] = "SIGTERM";
    out["KillTimeout"] = (spec.stop_s + kKillSlack) * kSecond;
    out["Env"] = {{"SKY_SPEC", spec.dump()}};
    const Demand demand = demand_of(config, spec);
    out["Resources"] = {{"CPU", demand.mhz}, {"MemoryMB", demand.mib}};
    return out;
}

Json cleanup(const Config& config, const Spec& spec) {
    Json out = task(config, "cleanup", "cleanup", spec.path);
    out["Lifecycle"] = {{"Hook", "poststop"}};
    out["KillTimeout"] = 30 * kSecond;
    out["Resources"] = {{"CPU", 50}, {"MemoryMB", 64}};
    return out;
}

Json rule(const Placement::Rule& from) {
    return {{"LTarget", from.attribute}, {"Operand", from.op}, {"RTarget", from.value}};
}

/// What the operator says of where it runs, on top of the job.
void place(Json& job, const Config& config, const Tenant& tenant, const Where& where) {
    const auto& known = config.nomad->placements;
    std::vector<std::string> names{"default"};
    const auto& placed = config.tenant(tenant).placed;
    names.insert(names.end(), placed.begin(), placed.end());
    names.insert(names.end(), where.placements.begin(), where.placements.end());
    for (const auto& host : where.not_on) {
        job["Constraints"].push_back(
            rule({.attribute = "${node.unique.name}", .op = "!=", .value = host}));
    }
    for (const auto& name : names) {
        const auto at = known.find(name);
        if (at == known.end()) {
            continue; // no default; the others the configuration's reader has seen
        }
        for (const auto& each : at->second.constraints) {
            job["Constraints"].push_back(rule(each));
        }
        for (const auto& each : at->second.affinities) {
            Json affinity = rule(each);
            affinity["Weight"] = each.weight;
            job["Affinities"].push_back(std::move(affinity));
        }
        for (const auto& each : at->second.spreads) {
            job["Spreads"].push_back({{"Attribute", each.attribute}, {"Weight", each.weight}});
        }
        job["Priority"] = at->second.priority.value_or(job["Priority"].get<std::int64_t>());
    }
}

std::string text_of(const Json& object, const char* key) {
    const auto at = object.find(key);
    return at != object.end() && at->is_string() ? at->get<std::string>() : std::string();
}

std::uint64_t number_of(const Json& object, const char* key) {
    const auto at = object.find(key);
    return at != object.end() && at->is_number_unsigned() ? at->get<std::uint64_t>() : 0;
}

std::optional<std::string> first_difference(const Json& sent, const Json& there,
                                            const std::string& path) {
    if (sent.is_object() && there.is_object()) {
        for (const auto& [key, value] : sent.items()) {
            const auto at = there.find(key);
            const Json& other = at == there.end() ? Json() : *at;
            std::string below = path;
            below += path.empty() ? "" : ".";
            below += key;
            if (auto found = first_difference(value, other, below)) {
                return found;
            }
        }
        return std::nullopt;
    }
    if (sent.is_array() && sent.empty() && there.is_null()) {
        return std::nullopt; // Nomad's word for an empty list
    }
    if (sent.is_array() && there.is_array() && sent.size() == there.size()) {
        for (std::size_t i = 0; i < sent.size(); ++i) {
            if (auto found = first_difference(sent[i], there[i], fmt::format("{}[{}]", path, i))) {
                return found;
            }
        }
        return std::nullopt;
    }
    return sent == there ? std::nullopt : std::optional(path);
}

} // namespace

Json nomad_job(const Config& config, const Spec& spec, const Where& where) {
    const auto& host = where.host;
    const auto& nomad = config.nomad.value();
    const std::string name = spec.path.joined();
    Json group = {
        {"Name", "vm"},
        {"Count", 1},
        {"Update", {{"MaxParallel", 0}}},
        {"RestartPolicy",
         {{"Attempts", 3}, {"Interval", 600 * kSecond}, {"Delay", 5 * kSecond}, {"Mode", "fail"}}},
        {"ReschedulePolicy",
         {{"Attempts", 0},
          {"Interval", 0},
          {"Delay", 30 * kSecond},
          {"DelayFunction", "exponential"},
          {"MaxDelay", 300 * kSecond}, // after an outage that failed all of them they are back soon
          {"Unlimited", true}}},
        {"Disconnect", nullptr},
        {"EphemeralDisk", {{"SizeMB", 5 * kLogMib}, {"Sticky", false}, {"Migrate", false}}},
        {"Tasks", {leader(config, spec), cleanup(config, spec)}}};
    Json constraints = Json::array(); // the job's: Nomad adds some of its own to the group's
    if (host) {
        constraints.push_back(
            {{"LTarget", "${node.unique.name}"}, {"RTarget", *host}, {"Operand", "="}});
        group["Disconnect"] = {
            {"LostAfter", kForEver}, {"Replace", false}, {"Reconcile", "keep_original"}};
    }
    Json job = {{"ID", name},
                {"Name", name},
                {"Namespace", nomad::namespace_of(spec.path.tenant)},
                {"Region", nomad.region},
                {"Type", "service"},
                {"Datacenters", nomad.datacenters},
                {"NodePool", nomad.node_pool},
                {"Constraints", constraints},
                {"Meta", {{"sky_spec", spec.hash()}, {"sky_rev", spec.rev.str()}}},
                {"Affinities", Json::array()},
                {"Spreads", Json::array()},
                {"Priority", kPriority},
                {"TaskGroups", {group}}};
    place(job, config, spec.path.tenant, where);
    return job;
}

Demand demand_of(const Config& config, const Spec& spec) {
    return demand_of(config, Amount{.vcpu = spec.vcpu, .mem_mib = spec.mem_mib});
}

Demand demand_of(const Config& config, const Amount& granted) {
    const auto& nomad = config.nomad.value();
    return {.mhz = static_cast<std::int64_t>(granted.vcpu) * nomad.vcpu_mhz,
            .mib = static_cast<std::int64_t>(granted.mem_mib) + nomad.overhead_mib};
}

Json without_restart(Json job, const Json& there) {
    job["Meta"] = there.at("Meta");
    const Json& old = there.at("TaskGroups").at(0);
    for (const char* key : {"Tasks", "EphemeralDisk"}) {
        job["TaskGroups"][0][key] = old.at(key);
    }
    return job;
}

std::string spec_of(const std::optional<Json>& job) {
    if (!job || job->value("Stop", false) || !job->at("Meta").is_object()) {
        return "";
    }
    return text_of(job->at("Meta"), "sky_spec");
}

std::optional<std::string> changed_by_nomad(const Json& sent, const Json& there) {
    return first_difference(sent, there, "");
}

Allocation Allocation::of(const Json& stub) {
    Allocation out{.id = text_of(stub, "ID"),
                   .job = text_of(stub, "JobID"),
                   .name_space = text_of(stub, "Namespace"),
                   .node = text_of(stub, "NodeName"),
                   .wanted = text_of(stub, "DesiredStatus"),
                   .state = text_of(stub, "ClientStatus"),
                   .create_index = number_of(stub, "CreateIndex"),
                   .job_version = number_of(stub, "JobVersion"),
                   .event = {}};
    const auto tasks = stub.find("TaskStates");
    if (tasks != stub.end() && tasks->is_object() && tasks->contains("vm")) {
        const Json& vm = tasks->at("vm");
        const auto events = vm.find("Events");
        if (events != vm.end() && events->is_array() && !events->empty()) {
            out.event = printable(text_of(events->back(), "DisplayMessage"), 200);
        }
    }
    return out;
}

std::vector<Allocation> allocations_of(const Json& list) {
    std::vector<Allocation> out;
    if (list.is_array()) {
        for (const Json& stub : list) {
            out.push_back(Allocation::of(stub));
        }
    }
    return out;
}

const Allocation* newest(const std::vector<Allocation>& all) {
    const auto at = std::max_element(all.begin(), all.end(), [](const auto& a, const auto& b) {
        return a.create_index < b.create_index;
    });
    return at == all.end() ? nullptr : &*at;
}

namespace {

std::string waits_for(const std::optional<std::string>& home) {
    return home ? fmt::format("waits for {}, which has its volumes", *home) : "waits for a host";
}

/// Without a supervisor's word.
void judge(MachineState& out, const Allocation& now, bool stop,
           const std::optional<std::string>& home) {
    out.host = now.node;
    out.lives = !now.ended();
    if (now.state == "lost" && stop) { // the record knows whether it was taken from its host
        out.lives = false;
        out.state = "stopped";
    } else if (now.state == "lost" || now.state == "unknown") {
        out.state = "starting";
        out.why = home ? waits_for(home) : fmt::format("host {} is not heard of", now.node);
    } else if (now.ended() && now.wanted != "run" && !stop) {
        out.state = "starting";
        out.why = waits_for(home);
    } else if (now.state == "failed") {
        out.state = "failed";
        out.why = now.event;
    } else {
        out.state = now.state == "complete" ? "stopped" : "starting";
    }
}

} // namespace

MachineState nomad_state(const Json& job, const Allocation* newest,
                         const std::optional<MachineState>& said,
                         const std::optional<std::string>& home) {
    MachineState out{.path = MachinePath::parse_joined(text_of(job, "ID"))};
    const bool stop = job.value("Stop", false);
    if (newest == nullptr) {
        out.state = stop ? "stopped" : "starting";
        out.why = stop ? std::nullopt : std::optional(waits_for(home));
    } else if (said && said->alloc == newest->id && newest->wanted == "run" &&
               newest->state != "lost" && newest->state != "unknown") {
        out = *said;
        out.lives = !newest->ended();
        if (newest->ended()) {
            out.state = newest->state == "failed" ? "failed" : "stopped";
            out.address.clear();
        }
    } else {
        judge(out, *newest, stop, home);
    }
    const auto meta = job.find("Meta");
    if (meta != job.end() && meta->is_object()) {
        out.spec = text_of(*meta, "sky_spec");
        if (const auto rev = text_of(*meta, "sky_rev"); Revision::valid(rev)) {
            out.rev = Revision::parse(rev);
        }
    }
    return out;
}

} // namespace sky::submit
