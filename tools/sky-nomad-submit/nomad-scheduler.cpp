// SPDX-License-Identifier: MIT
#include <sky-nomad-submit/nomad-scheduler.hpp>

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/registry.hpp>

#include <algorithm>
#include <future>
#include <nlohmann/json.hpp>

namespace sky::submit {
namespace {

using nomad::Client;
using std::chrono::seconds;

constexpr seconds kSlack{60};
constexpr std::size_t kStateMost = std::size_t{64} << 10;
/// What Allocation::of() reads.
const std::vector<std::string_view> allocation_keys{"ID",          "JobID",         "Namespace",
                                                    "NodeName",    "DesiredStatus", "ClientStatus",
                                                    "CreateIndex", "JobVersion",    "TaskStates"};
/// What rooms_of() reads.
const std::vector<std::string_view> room_keys{
    "ID", "JobID", "JobType", "Namespace", "NodeID", "ClientStatus", "AllocatedResources"};

std::string text_of(const Json& object, const char* key) {
    const auto at = object.find(key);
    return at != object.end() && at->is_string() ? at->get<std::string>() : std::string();
}

} // namespace

/// Made at first use: `identity` needs none.
Client& NomadScheduler::nomad() {
    std::call_once(once_, [this] {
        nomad_.emplace(*config_.nomad, nomad::read_token(config_.nomad->deploy_token));
    });
    return *nomad_;
}

std::vector<Allocation> NomadScheduler::allocations(const MachinePath& path) {
    auto query = in(path);
    query.emplace_back("all", "true");
    return allocations_of(nomad().get(job_path(path) + "/allocations", query));
}

std::optional<std::string> NomadScheduler::said_text(const MachinePath& path,
                                                     const std::string& host) const {
    return Machine::valid(host) ? read_file_if_exists(state_.said(path, host), kStateMost)
                                : std::nullopt;
}

std::optional<MachineState> NomadScheduler::said(const MachinePath& path,
                                                 const Allocation* of) const {
    const auto text = of != nullptr ? said_text(path, of->node) : std::nullopt;
    return text ? std::optional(MachineState::parse(*text)) : std::nullopt;
}

std::vector<Json> NomadScheduler::enrol(const Tenant& tenant, const Repo& repo,
                                        const std::vector<Machine>& machines, std::int64_t max) {
    return here_->enrol(tenant, repo, machines, max);
}

Outcome NomadScheduler::start(const Spec& spec, const Placing& placing, const Watch& watch) {
    const auto before = home(spec.path);
    const Following what{.path = spec.path,
                         .version = enter(spec, placing),
                         .before = std::nullopt,
                         .limit = seconds(spec.ready_s + spec.stop_s) + kSlack,
                         .demand = demand_of(config_, spec)};
    Outcome outcome = follow(what, watch);
    if (home(spec.path) != before) {
        static_cast<void>(
            enter(spec, placing)); // held to where its volumes have been made meanwhile
    }
    return outcome;
}

/// With the machine's own left out: they make way for it.
std::vector<Room> NomadScheduler::rooms(const MachinePath& without) {
    const Registry registry = load_registry(config_);
    const Json nodes = nomad().get("nodes", {{"resources", "true"}});
    Json allocations = Json::array();
    nomad().each("allocations", {{"namespace", "*"}, {"resources", "true"}}, room_keys,
                 [&](const Json& each) { allocations.push_back(each); });
    auto out = rooms_of(nodes, allocations);
    const std::string own = nomad::namespace_of(without.tenant) + "/" + without.joined();
    for (Room& room : out) {
        std::erase_if(room.machines, [&](const auto& each) { return each.second.job == own; });
        for (auto& [id, machine] : room.machines) {
            const auto slash = machine.job.find('/');
            const auto joined = machine.job.substr(slash + 1);
            if (nomad::tenant_of_namespace(machine.job.substr(0, slash)) &&
                registry.machines.contains(joined)) {
                machine.stays =
                    machine.stays || home_of(registry, MachinePath::parse_joined(joined));
            }
        }
    }
    return out;
}

/// Those for which Nomad looks for a place, or is about to. First those that it is about to: what
/// it finds none for meanwhile is among the others.
std::set<std::string> NomadScheduler::placeless() {
    std::set<std::string> out;
    for (const char* status : {"pending", "blocked"}) {
        nomad().each("evaluations", {{"namespace", "*"}, {"status", status}},
                     {"Namespace", "JobID"}, [&](const Json& each) {
                         out.insert(text_of(each, "Namespace") + "/" + text_of(each, "JobID"));
                     });
    }
    return out;
}

/// Each is asked before the next that a machine goes to: none is missed on its way.
std::optional<Lack> NomadScheduler::not_spared(const Spec& spec,
                                               const std::set<MachinePath>& coming,
                                               const Granted& granted) {
    const auto looks = placeless();
    const auto all = rooms(spec.path);
    const Registry registry = load_registry(config_);
    auto others = coming;
    for (const auto& [joined, machine] : registry.machines) {
        const auto path = MachinePath::parse_joined(joined);
        if (looks.contains(nomad::namespace_of(path.tenant) + "/" + joined)) {
            others.insert(path);
        }
    }
    others.erase(spec.path);
    std::set<std::string> placed;
    for (const Room& room : all) {
        for (const auto& [id, machine] : room.machines) {
            placed.insert(machine.job);
        }
    }
    std::vector<Wanted> waiting;
    for (const auto& path : others) {
        if (placed.contains(nomad::namespace_of(path.tenant) + "/" + path.joined())) {
            continue;
        }
        if (const auto amount = granted(path)) {
            waiting.push_back({demand_of(config_, *amount), home_of(registry, path)});
        }
    }
    const Wanted asked{demand_of(config_, spec), home_of(registry, spec.path)};
    const auto lacks = submit::not_spared(all, asked, waiting);
    if (!lacks) {
        return std::nullopt;
    }
    return Lack{.text = lacks->text(),
                .passing = !submit::not_spared(with_all_back(all), asked, waiting)};
}

Outcome NomadScheduler::stop(const MachinePath& path, bool forget, const Watch& watch) {
    const auto job = nomad().find(job_path(path), in(path));
    if (!job && !forget) {
        return {.exit_code = code(ExitCode::kRefused), .last = std::nullopt, .said = ""};
    }
    if (job) {
        if (const auto why = end(path)) {
            return failed_because(std::nullopt, path, *why);
        }
    }
    if (forget) {
        return here_->stop(path, true, watch);
    }
    return {.exit_code = 0, .last = MachineState{.path = path, .state = "stopped"}, .said = ""};
}

Outcome NomadScheduler::restart(const MachinePath& path, const Watch& watch) {
    const auto all = allocations(path);
    const Allocation* now = newest(all);
    if (now == nullptr || now->state != "running") {
        return {.exit_code = code(ExitCode::kUnavailable),
                .last = std::nullopt,
                .said = "no host runs it"};
    }
    const auto before = said_text(path, now->node);
    nomad().put("client/allocation/" + now->id + "/restart", in(path), {{"TaskName", "vm"}},
                Client::Again::kNever);
    return follow({.path = path,
                   .version = std::nullopt,
                   .before = before,
                   .limit = seconds(config_.machine.stop_s + config_.machine.ready_s) + kSlack},
                  watch);
}

/// Ours: an operator may have others there.
void NomadScheduler::each_job(const std::string& name_space,
                              const std::function<void(const Json&)>& f) {
    nomad().each("jobs", {{"namespace", name_space}, {"meta", "true"}},
                 {"ID", "Namespace", "Stop", "Meta"}, [&](const Json& job) {
                     const auto meta = job.find("Meta");
                     if (nomad::tenant_of_namespace(text_of(job, "Namespace")) &&
                         meta != job.end() && meta->is_object() && meta->contains("sky_spec")) {
                         f(job);
                     }
                 });
}

std::vector<Allocation> NomadScheduler::placed(const std::string& name_space) {
    std::vector<Allocation> out;
    nomad().each("allocations", {{"namespace", name_space}}, allocation_keys,
                 [&](const Json& each) { out.push_back(Allocation::of(each)); });
    return out;
}

std::vector<MachineState> NomadScheduler::list(const std::optional<Tenant>& tenant) {
    const std::string where = tenant ? nomad::namespace_of(*tenant) : "*";
    auto coming = std::async(std::launch::async, [&] { return placed(where); });
    std::vector<Json> jobs;
    each_job(where, [&](const Json& job) { jobs.push_back(job); });
    const Registry registry = load_registry(config_);
    std::map<std::string, std::vector<Allocation>> by_job;
    for (auto& each : coming.get()) {
        by_job[each.name_space + "/" + each.job].push_back(std::move(each));
    }
    std::vector<MachineState> out;
    for (const Json& job : jobs) {
        const auto path = MachinePath::parse_joined(text_of(job, "ID"));
        const auto& mine = by_job[text_of(job, "Namespace") + "/" + text_of(job, "ID")];
        out.push_back(
            nomad_state(job, newest(mine), said(path, newest(mine)), home_of(registry, path)));
    }
    return out;
}

/// Of one call. What Nomad has a job for it keeps up; where, and how well, does not matter here.
std::vector<MachineState> NomadScheduler::overview() {
    std::vector<MachineState> out;
    each_job("*", [&](const Json& job) {
        out.push_back(nomad_state(job, nullptr, std::nullopt, std::nullopt));
    });
    return out;
}

std::set<MachinePath> NomadScheduler::watched(const Tenant& tenant) {
    std::set<MachinePath> out;
    for (const auto& each : placed(nomad::namespace_of(tenant))) {
        if (each.wanted == "run" && (each.state == "running" || each.state == "pending")) {
            out.insert(MachinePath::parse_joined(each.job));
        }
    }
    return out;
}

std::unique_ptr<Scheduler> make_scheduler(const Config& config) {
    if (config.nomad) {
        return std::make_unique<NomadScheduler>(config);
    }
    return make_local_scheduler(config);
}

} // namespace sky::submit
