// SPDX-License-Identifier: MIT
#include "sky-nomad-submit/nomad-job.hpp"

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

Json nomad_job(const Config& config, const Spec& spec, const std::optional<std::string>& host) {
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
          {"MaxDelay", 3600 * kSecond},
          {"Unlimited", true}}},
        {"EphemeralDisk", {{"SizeMB", 5 * kLogMib}, {"Sticky", false}, {"Migrate", false}}},
        {"Tasks", {leader(config, spec), cleanup(config, spec)}}};
    if (host) {
        group["Constraints"] = {
            {{"LTarget", "${node.unique.name}"}, {"RTarget", *host}, {"Operand", "="}}};
        group["Disconnect"] = {
            {"LostAfter", kForEver}, {"Replace", false}, {"Reconcile", "keep_original"}};
    }
    return {{"ID", name},
            {"Name", name},
            {"Namespace", nomad::namespace_of(spec.path.tenant)},
            {"Region", nomad.region},
            {"Type", "service"},
            {"Datacenters", nomad.datacenters},
            {"NodePool", nomad.node_pool},
            {"Meta", {{"sky_spec", spec.hash()}, {"sky_rev", spec.rev.str()}}},
            {"TaskGroups", {group}}};
}

Demand demand_of(const Config& config, const Spec& spec) {
    const auto& nomad = config.nomad.value();
    return {.mhz = static_cast<std::int64_t>(spec.vcpu) * nomad.vcpu_mhz,
            .mib = static_cast<std::int64_t>(spec.mem_mib) + nomad.overhead_mib};
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

MachineState nomad_state(const Json& job, const Allocation* newest,
                         const std::optional<MachineState>& said) {
    MachineState out{.path = MachinePath::parse_joined(text_of(job, "ID"))};
    if (newest != nullptr && said && said->alloc == newest->id && newest->state != "lost" &&
        newest->state != "unknown") {
        out = *said;
        out.lives = !newest->ended();
        if (newest->ended()) {
            out.state = newest->state == "failed" ? "failed" : "stopped";
            out.address.clear();
        }
    } else if (newest == nullptr) {
        out.state = job.value("Stop", false) ? "stopped" : "starting";
        out.why = job.value("Stop", false) ? std::nullopt : std::optional("waits for a host");
    } else {
        out.host = newest->node;
        out.lives = !newest->ended();
        out.state = newest->state == "complete" ? "stopped"
                    : newest->state == "failed" ? "failed"
                                                : "starting";
        if (newest->state == "lost" || newest->state == "unknown") {
            out.why = fmt::format("host {} is not heard of", newest->node);
        } else if (newest->state == "failed") {
            out.why = newest->event;
        }
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
