// SPDX-License-Identifier: MIT
#include "sky-nomad-submit/nomad-job.hpp"
#include "sky-nomad-submit/room.hpp"
#include "sky-nomad-submit/scheduler.hpp"

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/log.hpp>
#include <sky/nomad/client.hpp>
#include <sky/state.hpp>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>
#include <unistd.h>

namespace sky::submit {
namespace {

using nomad::Client;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kLook{100};     ///< between two looks at what the supervisor said
constexpr milliseconds kAskNomad{500}; ///< between two looks at the allocations
constexpr seconds kFetch{3600};        ///< silence while a closure is unpacked
constexpr seconds kSlack{60};
constexpr std::size_t kStateMost = std::size_t{64} << 10;
constexpr int kRegisterTries = 3;

std::string text_of(const Json& object, const char* key) {
    const auto at = object.find(key);
    return at != object.end() && at->is_string() ? at->get<std::string>() : std::string();
}

std::uint64_t modify_index(const std::optional<Json>& job) {
    return job ? job->at("JobModifyIndex").get<std::uint64_t>() : 0;
}

std::string spec_of(const std::optional<Json>& job) {
    if (!job || job->value("Stop", false) || !job->at("Meta").is_object()) {
        return "";
    }
    return text_of(job->at("Meta"), "sky_spec");
}

std::string_view last_lines(std::string_view text, std::int64_t lines) {
    std::size_t at = text.size();
    at -= at > 0 && text.back() == '\n' && lines > 0 ? 1 : 0;
    for (; at > 0; --at) {
        if ((text[at - 1] == '\n' && --lines == 0) || lines < 0) {
            break;
        }
    }
    return lines > 0 || at > 0 ? text.substr(at) : text.substr(text.size());
}

Outcome failed_because(const std::optional<MachineState>& last, const MachinePath& path,
                       const std::string& why) {
    MachineState state = last.value_or(MachineState{.path = path});
    state.state = "failed";
    state.why = why;
    return {.exit_code = 1, .last = state, .said = why};
}

class NomadScheduler : public Scheduler {
  public:
    explicit NomadScheduler(const Config& config)
        : config_(config), state_(config), here_(make_local_scheduler(config)) {}

    std::vector<Json> enrol(const Tenant& tenant, const Repo& repo,
                            const std::vector<Machine>& machines, std::int64_t max) override {
        return here_->enrol(tenant, repo, machines, max);
    }
    Outcome start(const Spec& spec, const Watch& watch) override;
    Outcome stop(const MachinePath& path, bool forget, const Watch& watch) override;
    Outcome restart(const MachinePath& path, const Watch& watch) override;
    std::vector<MachineState> list(const std::optional<Tenant>& tenant) override;
    std::set<MachinePath> watched(const Tenant& tenant) override;
    int logs(const MachinePath& path, bool follow, std::int64_t lines) override;

  private:
    /// What to follow, and from where on.
    struct Following {
        MachinePath path;
        std::optional<std::uint64_t> version; ///< of the job
        std::optional<std::string> before;    ///< what was said before: no answer to this
        seconds limit;
        Demand demand = {}; ///< for who is told that no host has it
    };

    Client& nomad();
    nomad::Query in(const MachinePath& path) {
        return {{"namespace", nomad::namespace_of(path.tenant)}};
    }
    std::string job_path(const MachinePath& path) { return "job/" + http::escaped(path.joined()); }
    std::vector<Allocation> allocations(const MachinePath& path);
    std::optional<std::string> said_text(const MachinePath& path) const;
    std::optional<MachineState> said(const MachinePath& path) const;
    std::uint64_t enter(const Spec& spec);
    Outcome follow(const Following& what, const Watch& watch);
    bool released(const MachinePath& path);
    std::vector<Room> rooms();

    const Config& config_;
    State state_;
    std::unique_ptr<Scheduler> here_;
    std::once_flag once_;
    std::optional<Client> nomad_;
};

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

std::optional<std::string> NomadScheduler::said_text(const MachinePath& path) const {
    return read_file_if_exists(state_.said(path), kStateMost);
}

std::optional<MachineState> NomadScheduler::said(const MachinePath& path) const {
    const auto text = said_text(path);
    return text ? std::optional(MachineState::parse(*text)) : std::nullopt;
}

/// Registers the job, unless it is there as it should be. Its version.
std::uint64_t NomadScheduler::enter(const Spec& spec) {
    const Json job = nomad_job(config_, spec, std::nullopt);
    for (int round = 1;; ++round) {
        const auto there = nomad().find(job_path(spec.path), in(spec.path));
        if (spec_of(there) == spec.hash()) {
            // Its revision is that of its first registration.
            return there->at("Version").get<std::uint64_t>();
        }
        try {
            nomad().put(
                "jobs", in(spec.path),
                {{"Job", job}, {"EnforceIndex", true}, {"JobModifyIndex", modify_index(there)}},
                Client::Again::kNever);
            const Json now = nomad().get(job_path(spec.path), in(spec.path));
            if (const auto key = changed_by_nomad(job, now)) {
                fail(ExitCode::kConfig,
                     "nomad did not take '{}' of a job (Nomad 1.10.2 or newer is needed)", *key);
            }
            return now.at("Version").get<std::uint64_t>();
        } catch (const Error& e) {
            const bool again = e.code() == ExitCode::kBusy || e.code() == ExitCode::kUnavailable;
            if (!again || round == kRegisterTries) {
                throw;
            }
            log::debug("{}: looking again", e.what());
        }
    }
}

Outcome NomadScheduler::start(const Spec& spec, const Watch& watch) {
    return follow({.path = spec.path,
                   .version = enter(spec),
                   .before = std::nullopt,
                   .limit = seconds(spec.ready_s + spec.stop_s) + kSlack,
                   .demand = demand_of(config_, spec)},
                  watch);
}

/// Until the machine is ready or has failed.
Outcome NomadScheduler::follow(const Following& what, const Watch& watch) {
    const auto place_end = Clock::now() + seconds(config_.nomad->place_s);
    auto end = Clock::now() + what.limit;
    auto ask = Clock::now();
    std::optional<Allocation> mine;
    std::optional<MachineState> last;
    std::string last_text;
    for (;;) {
        if (Clock::now() >= ask) {
            const auto all = allocations(what.path);
            const Allocation* now = newest(all);
            mine = now != nullptr && now->job_version == what.version.value_or(now->job_version)
                       ? std::optional(*now)
                       : std::nullopt;
            ask = Clock::now() + (mine ? kAskNomad : kLook);
            if (!mine && Clock::now() > place_end) {
                return {.exit_code = code(ExitCode::kUnavailable),
                        .last = std::nullopt,
                        .said = "no host has room: " + lacking(rooms(), what.demand, std::nullopt)};
            }
        }
        const auto text = mine ? said_text(what.path) : std::nullopt;
        if (text && text != last_text && text != what.before) {
            MachineState now = MachineState::parse(*text);
            if (now.alloc == mine->id) {
                last_text = *text;
                last = now;
                watch(now);
                end = Clock::now() + (now.state == "fetching" ? kFetch : what.limit);
                if (now.state == "ready") {
                    return {.exit_code = 0, .last = last, .said = ""};
                }
                if (now.state == "failed" || now.state == "backoff" || now.state == "stopped") {
                    return {.exit_code = 1, .last = last, .said = ""};
                }
            }
        }
        if (mine && mine->ended()) {
            return failed_because(last, what.path, mine->event);
        }
        if (Clock::now() > end) {
            return failed_because(last, what.path,
                                  fmt::format("nothing was heard from {} for {} s",
                                              mine ? mine->node : "nomad", what.limit.count()));
        }
        std::this_thread::sleep_for(kLook);
    }
}

std::vector<Room> NomadScheduler::rooms() {
    return rooms_of(nomad().get("nodes", {{"resources", "true"}}),
                    nomad().get("allocations", {{"namespace", "*"}, {"resources", "true"}}));
}

/// Its owner record says that nothing of it lives, or it never had an owner.
bool NomadScheduler::released(const MachinePath& path) {
    const auto owner = nomad().variable(
        fmt::format("sky/owner/{}/{}/{}", path.tenant.str(), path.repo.str(), path.machine.str()));
    return !owner || parse_json(owner->json, kStateMost, "owner").value("released", false);
}

Outcome NomadScheduler::stop(const MachinePath& path, bool forget, const Watch& watch) {
    const auto job = nomad().find(job_path(path), in(path));
    if (!job && !forget) {
        return {.exit_code = code(ExitCode::kRefused), .last = std::nullopt, .said = ""};
    }
    if (job) {
        if (!job->value("Stop", false)) {
            nomad().remove(job_path(path), in(path));
        }
        const auto most = seconds(config_.machine.stop_s) + kSlack;
        const auto end = Clock::now() + most;
        for (;;) {
            const auto all = allocations(path);
            const auto alive = std::find_if(all.begin(), all.end(), [&](const Allocation& a) {
                return !a.ended() && !(a.state == "lost" && released(path));
            });
            if (alive == all.end()) {
                break;
            }
            if (Clock::now() > end) {
                return failed_because(std::nullopt, path,
                                      alive->state == "lost"
                                          ? fmt::format("host {} is not heard of", alive->node)
                                          : fmt::format("it does not end on {}", alive->node));
            }
            std::this_thread::sleep_for(kAskNomad);
        }
    }
    if (forget) {
        return here_->stop(path, true, watch);
    }
    return {.exit_code = 0, .last = MachineState{.path = path, .state = "stopped"}, .said = ""};
}

Outcome NomadScheduler::restart(const MachinePath& path, const Watch& watch) {
    const auto before = said_text(path);
    const auto all = allocations(path);
    const Allocation* now = newest(all);
    if (now == nullptr || now->state != "running") {
        return {.exit_code = code(ExitCode::kUnavailable),
                .last = std::nullopt,
                .said = "no host runs it"};
    }
    nomad().put("client/allocation/" + now->id + "/restart", in(path), {{"TaskName", "vm"}},
                Client::Again::kNever);
    return follow({.path = path,
                   .version = std::nullopt,
                   .before = before,
                   .limit = seconds(config_.machine.stop_s + config_.machine.ready_s) + kSlack},
                  watch);
}

std::vector<MachineState> NomadScheduler::list(const std::optional<Tenant>& tenant) {
    const nomad::Query where{{"namespace", tenant ? nomad::namespace_of(*tenant) : "*"}};
    auto with_meta = where;
    with_meta.emplace_back("meta", "true");
    const Json jobs = nomad().get("jobs", with_meta);
    std::map<std::string, std::vector<Allocation>> by_job;
    for (auto& each : allocations_of(nomad().get("allocations", where))) {
        by_job[each.name_space + "/" + each.job].push_back(std::move(each));
    }
    std::vector<MachineState> out;
    for (const Json& job : jobs) {
        const auto owner = nomad::tenant_of_namespace(text_of(job, "Namespace"));
        const auto meta = job.find("Meta");
        if (!owner || meta == job.end() || !meta->is_object() || !meta->contains("sky_spec")) {
            continue; // the operator's own
        }
        const auto path = MachinePath::parse_joined(text_of(job, "ID"));
        const auto& mine = by_job[text_of(job, "Namespace") + "/" + text_of(job, "ID")];
        out.push_back(nomad_state(job, newest(mine), said(path)));
    }
    return out;
}

std::set<MachinePath> NomadScheduler::watched(const Tenant& tenant) {
    std::set<MachinePath> out;
    for (const auto& each :
         allocations_of(nomad().get("allocations", {{"namespace", nomad::namespace_of(tenant)}}))) {
        if (each.wanted == "run" && (each.state == "running" || each.state == "pending")) {
            out.insert(MachinePath::parse_joined(each.job));
        }
    }
    return out;
}

int NomadScheduler::logs(const MachinePath& path, bool follow, std::int64_t lines) {
    const auto all = allocations(path);
    const Allocation* now = newest(all);
    if (now == nullptr) {
        fail(ExitCode::kRefused, "'{}' runs on no host", path.text());
    }
    constexpr std::int64_t kMost = std::int64_t{1} << 20;
    auto query = in(path);
    const std::string where = "client/fs/logs/" + now->id;
    for (const auto& [key, value] :
         {std::pair{"task", "vm"}, {"type", "stdout"}, {"plain", "true"}, {"origin", "end"}}) {
        query.emplace_back(key, value);
    }
    auto tail = query;
    tail.emplace_back("offset", std::to_string(kMost));
    std::string text;
    const long status = nomad().stream(where, tail, [&](std::string_view piece) {
        text += piece;
        return text.size() < 2 * static_cast<std::size_t>(kMost);
    });
    write_all(STDOUT_FILENO, last_lines(text, lines));
    if (follow && status == 200) {
        query.emplace_back("follow", "true");
        nomad().stream(where, query, [](std::string_view piece) {
            write_all(STDOUT_FILENO, piece);
            return true;
        });
    }
    return 0;
}

} // namespace

std::unique_ptr<Scheduler> make_scheduler(const Config& config) {
    if (config.nomad) {
        return std::make_unique<NomadScheduler>(config);
    }
    return make_local_scheduler(config);
}

} // namespace sky::submit
