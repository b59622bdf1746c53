// SPDX-License-Identifier: MIT
#include <sky-build/session.hpp>

#include <sky-build/machine.hpp>
#include <sky-build/unsynced.hpp>
#include <sky-build/watch.hpp>
#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/lines.hpp>
#include <sky/log.hpp>
#include <sky/scratch.hpp>
#include <sky/state.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/file.h>
#include <thread>

namespace sky::build {

namespace {

constexpr std::size_t kMemos = 5000;

/// One machine on its way through the session.
struct Job {
    Request request;
    Tag tag;
    std::unique_ptr<BuildLog> log;
    std::optional<DeployInput> input; ///< once its source and identity are known
    std::optional<Known> known;       ///< built before
    bool decided = false;
};

std::string or_empty(const std::filesystem::path& file) {
    return read_file_if_exists(file, std::size_t{1} << 20).value_or("");
}

bool any_check(const std::vector<Request>& requests) {
    return std::any_of(requests.begin(), requests.end(), [](const Request& r) { return r.check; });
}

class Session {
  public:
    Session(const Config& config, const Tenant& tenant, std::vector<Request> requests)
        : config_(config), state_(config), tenant_(tenant), cell_directory_(state_.cell(tenant)),
          unsynced_(own_cell_directory(), boot_id()), use_(enter_cell()),
          scratch_(session_directory()),
          cell_(plan_cell(config, cell_directory_, scratch_), config.cell.pids, cancel_),
          memo_(cell_directory_ / "memo"),
          outbox_(state_.outbox(tenant) / requests.front().build.str(), cell_.plan().nix / "store",
                  ask_cache(config, any_check(requests))) {
        for (Request& request : requests) {
            const auto builds = state_.builds(tenant) / request.build.str();
            make_directories(builds, 0700);
            Tag tag{jobs_.size() + 1, requests.size(), request.machine.str(), request.rev.str()};
            auto log = std::make_unique<BuildLog>(builds / (tag.machine + ".log"), tag.machine);
            jobs_.push_back({std::move(request), tag, std::move(log), {}, {}, false});
        }
    }

    int run() {
        Watch watch(cancel_); // before the first thread: they inherit the blocked signals
        std::thread worker([&] {
            work();
            watch.done();
        });
        const std::optional<int> stopped = watch.wait();
        worker.join();
        memo_.prune(kMemos);
        if (stopped) {
            return *stopped;
        }
        return failed_ ? code(ExitCode::kSomeFailed) : code(ExitCode::kOk);
    }

  private:
    std::filesystem::path own_cell_directory() const {
        make_directories(cell_directory_, 0700);
        return cell_directory_;
    }

    Fd enter_cell() const {
        Fd use = hold_cell(cell_directory_, LOCK_SH | LOCK_NB);
        if (!use) {
            log::say("       waiting: the cell's garbage is being collected");
            use = hold_cell(cell_directory_, LOCK_SH);
        }
        return use;
    }

    std::filesystem::path session_directory() const {
        make_directories(cell_directory_ / "tmp", 0700);
        return cell_directory_ / "tmp";
    }

    void work() noexcept {
        try {
            guarded(jobs_of_all(), [&] {
                trees_.emplace(add_operator_trees(config_.cell, cell_, memo_));
                write_etc(cell_.plan().own_etc, or_empty(cell_.plan().own_etc / "resolv.conf"),
                          registry_text(trees_->inputs));
            });
            std::map<std::pair<Repo, Revision>, std::vector<Job*>> groups;
            for (Job* job : undecided(jobs_of_all())) {
                groups[{job->request.repo, job->request.rev}].push_back(job);
            }
            for (auto& [name, jobs] : groups) {
                guarded(jobs, [&, &group = jobs] { prepare(group); });
            }
            build_all();
        } catch (const Cancelled&) {
            log::debug("cancelled");
        } catch (const std::exception& e) {
            log::error("{}", e.what()); // only emit() comes here: nobody reads stdout
            cancel_.set();
        }
    }

    std::vector<Job*> jobs_of_all() {
        std::vector<Job*> all;
        for (Job& job : jobs_) {
            all.push_back(&job);
        }
        return all;
    }

    static std::vector<Job*> undecided(std::vector<Job*> jobs) {
        jobs.erase(std::remove_if(jobs.begin(), jobs.end(), [](Job* job) { return job->decided; }),
                   jobs.end());
        return jobs;
    }

    /// Does what several machines need; where it fails, it fails for each that is not decided yet.
    void guarded(const std::vector<Job*>& jobs, const std::function<void()>& step) {
        Failure failure{"eval", ExitCode::kBug, ""};
        std::string log;
        try {
            step();
            return;
        } catch (const FlakeError& e) {
            failure.code = e.code();
            failure.text = e.what();
            log = e.log();
        } catch (const Error& e) {
            failure.code = e.code();
            failure.text = e.what();
        } catch (const std::exception& e) {
            failure.text = std::string("internal error: ") + e.what();
        }
        bool first = true;
        for (Job* job : undecided(jobs)) {
            job->log->note(log + "error: " + failure.text);
            tell_failure(job->tag, failure, first ? log : "");
            first = false;
            refuse(*job, failure);
        }
    }

    /// Source, names and identities for the machines of one commit.
    void prepare(const std::vector<Job*>& jobs) {
        const std::chrono::seconds limit(config_.cell.eval_s);
        const Request& one = jobs.front()->request;
        const auto open = [&] { return Repository(state_.repo(tenant_, one.repo)); };
        const std::string tree = one.tree ? *one.tree : open().tree_of(one.rev);
        const Source source = prepare_source(cell_, memo_, open, tree, *trees_, limit);
        for (const std::string& name : source.from_registry) {
            log::say(fmt::format("       {}: not locked by the flake,", printable(name, 30)));
            log::say("       taken from the operator's registry");
        }
        const auto& names = source.machines;
        std::set<Machine> wanted;
        for (Job* job : jobs) {
            if (std::find(names.begin(), names.end(), job->tag.machine) == names.end()) {
                refuse_unknown(*job, names);
            } else {
                wanted.insert(job->request.machine);
            }
        }
        if (wanted.empty()) {
            return;
        }
        const auto identities = identities_of(one.repo, undecided(jobs), std::move(wanted));
        for (Job* job : undecided(jobs)) {
            const auto& answer = identities.at(job->request.machine);
            if (const auto* failure = std::get_if<Failure>(&answer)) {
                tell_failure(job->tag, *failure, "");
                refuse(*job, *failure);
            } else {
                job->input =
                    DeployInput{source.tree,   job->request.machine, std::get<Identity>(answer),
                                trees_->guest, trees_->microvm(),    trees_->customization};
            }
        }
    }

    /// For each of `wanted`: remembered where its branch was there before, else asked for.
    std::map<Machine, std::variant<Identity, Failure>>
    identities_of(const Repo& repo, const std::vector<Job*>& jobs, std::set<Machine> wanted) {
        std::map<Machine, std::variant<Identity, Failure>> identities;
        for (const Job* job : jobs) {
            const Machine& machine = job->request.machine;
            auto known = job->request.moves
                             ? recall_identity(memo_, repo, machine, config_.machine.root_mib)
                             : std::nullopt;
            if (known) {
                identities.insert_or_assign(machine, std::move(*known));
                wanted.erase(machine);
            }
        }
        if (wanted.empty()) {
            return identities;
        }
        for (auto& [machine, answer] : ask_identities(config_, repo, wanted)) {
            if (const auto* identity = std::get_if<Identity>(&answer)) {
                remember_identity(memo_, repo, machine, *identity);
            }
            identities.insert_or_assign(machine, std::move(answer));
        }
        return identities;
    }

    void refuse_unknown(Job& job, const std::vector<std::string>& names) {
        const Failure failure{
            "eval", ExitCode::kData,
            fmt::format("no nixosConfigurations.{} in this flake", job.tag.machine)};
        job.log->note("error: " + failure.text);
        tell_failure(job.tag, failure, "");
        for (const std::string& line : names_advice(names)) {
            log::say(line);
            job.log->note(line);
        }
        refuse(job, failure);
    }

    /// Asks the cache once about all that was built before, not once for each machine.
    void ask_about_known(const std::vector<Job*>& jobs) {
        std::vector<PathInfo> paths;
        for (Job* job : jobs) {
            job->known = recall(memo_, *job->input);
            if (job->known && !job->request.moves) {
                const auto& closure = job->known->closure;
                paths.insert(paths.end(), closure.begin(), closure.end());
            }
        }
        try {
            outbox_.ask(paths);
        } catch (const Error& e) {
            log::debug("{}", e.what()); // whoever needs an answer asks again
        }
    }

    void build_all() {
        ask_about_known(undecided(jobs_of_all()));
        std::vector<Job*> jobs = undecided(jobs_of_all());
        std::atomic<std::size_t> next = 0;
        const Shared shared{&config_, &cell_, &memo_, &outbox_};
        const auto lane = [&] {
            for (std::size_t i = next++; i < jobs.size() && !cancel_.is_set(); i = next++) {
                build_one(shared, *jobs[i]);
            }
        };
        const std::size_t lanes =
            std::clamp<std::size_t>(std::thread::hardware_concurrency(), 1, jobs.size() + 1);
        std::vector<std::thread> threads;
        for (std::size_t i = 1; i < lanes; ++i) {
            threads.emplace_back(lane);
        }
        lane();
        for (std::thread& thread : threads) {
            thread.join();
        }
    }

    void build_one(const Shared& shared, Job& job) noexcept {
        try {
            const Outcome outcome =
                build_machine(shared, job.tag, job.request, *job.input, job.known, *job.log);
            if (const auto* failure = std::get_if<Failure>(&outcome)) {
                refuse(job, *failure);
            } else {
                job.decided = true;
                const auto& path = std::get<StorePath>(outcome);
                const bool known = job.request.moves && job.known && job.known->deployment == path;
                emit(with_deployment(job.request, path.str(), known));
            }
        } catch (const Cancelled&) {
            log::debug("cancelled");
        } catch (const std::exception& e) {
            log::error("{}", e.what());
            failed_ = true;
            cancel_.set();
        }
    }

    void refuse(Job& job, const Failure& failure) {
        job.decided = true;
        failed_ = true;
        emit(with_failure(job.request, failure));
    }

    void emit(const Json& object) {
        const std::lock_guard guard(emit_mutex_);
        write_line(1, object);
    }

    const Config& config_;
    State state_;
    Tenant tenant_;
    Cancel cancel_;
    std::filesystem::path cell_directory_;
    Unsynced unsynced_;
    Fd use_; ///< nothing is collected under our hands
    Scratch scratch_;
    Cell cell_;
    Memo memo_;
    Outbox outbox_;
    std::optional<OperatorTrees> trees_;
    std::vector<Job> jobs_;
    std::mutex emit_mutex_;
    std::atomic<bool> failed_ = false;
};

} // namespace

CellPlan plan_cell(const Config& config, const std::filesystem::path& cell,
                   const Scratch& scratch) {
    CellPlan plan;
    plan.bwrap = config.programs.bwrap;
    plan.pasta = config.programs.pasta;
    plan.root = config.cell.root;
    plan.entries = read_entries(plan.root);
    if (std::filesystem::is_directory(plan.root / "etc")) {
        plan.etc = read_entries(plan.root / "etc");
    }
    plan.nix = cell / "nix";
    plan.home = cell / "home";
    plan.tmp = scratch.tmp();
    plan.own_etc = scratch.etc();
    plan.shell = config.cell.shell;
    plan.nix_config = nix_config(config.cell);
    plan.outside = has_default_route(or_empty("/proc/net/route"), or_empty("/proc/net/ipv6_route"));
    if (!plan.outside) {
        log::debug("no default route: the cell works without a network");
    }
    const Resolvers resolvers = cell_resolvers(or_empty("/etc/resolv.conf"));
    plan.forward_dns = resolvers.forward;
    write_etc(plan.own_etc, resolvers.text, registry_text({}));
    for (const auto& directory : {plan.nix, plan.home, cell / "memo"}) {
        make_directories(directory, 0700);
    }
    return plan;
}

Fd hold_cell(const std::filesystem::path& cell, int operation) {
    Fd lock = open_file(cell / "lock", O_RDONLY | O_CREAT | O_NOFOLLOW, 0600);
    while (::flock(lock.get(), operation) != 0) {
        if (errno == EWOULDBLOCK) {
            return Fd();
        }
        if (errno != EINTR) {
            fail_errno("cannot lock the cell");
        }
    }
    return lock;
}

int run_session(const Config& config, const Tenant& tenant, std::vector<Request> requests) {
    return Session(config, tenant, std::move(requests)).run();
}

} // namespace sky::build
