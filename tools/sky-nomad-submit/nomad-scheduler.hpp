// SPDX-License-Identifier: MIT
#pragma once

#include "sky-nomad-submit/nomad-console.hpp"
#include "sky-nomad-submit/nomad-job.hpp"
#include "sky-nomad-submit/room.hpp"
#include "sky-nomad-submit/scheduler.hpp"

#include <sky/nomad/client.hpp>
#include <sky/state.hpp>

#include <chrono>
#include <mutex>

namespace sky::submit {

/// Nomad runs the machines. In parts: nomad-scheduler.cpp the calls, nomad-enter.cpp how a job is
/// registered, nomad-end.cpp how one ends, nomad-follow.cpp how a start is followed, nomad-logs.cpp
/// the console, nomad-connect.cpp the way to a port.
class NomadScheduler : public Scheduler {
  public:
    explicit NomadScheduler(const Config& config)
        : config_(config), state_(config), here_(make_local_scheduler(config)) {}

    std::vector<Json> enrol(const Tenant& tenant, const Repo& repo,
                            const std::vector<Machine>& machines, std::int64_t max) override;
    Outcome start(const Spec& spec, const Placing& placing, const Watch& watch) override;
    Outcome stop(const MachinePath& path, bool forget, const Watch& watch) override;
    Outcome restart(const MachinePath& path, const Watch& watch) override;
    std::vector<MachineState> list(const std::optional<Tenant>& tenant) override;
    std::vector<MachineState> overview() override;
    std::set<MachinePath> watched(const Tenant& tenant) override;
    std::optional<Lack> not_spared(const Spec& spec, const std::set<MachinePath>& coming,
                                   const Granted& granted) override;
    int logs(const MachinePath& path, bool follow, std::int64_t lines) override;
    int connect(const MachinePath& path, const std::string& address, std::uint16_t port) override;

  private:
    /// What to follow, and from where on.
    struct Following {
        MachinePath path;
        std::optional<std::uint64_t> version; ///< of the job
        std::optional<std::string> before;    ///< what was said before: no answer to this
        std::chrono::seconds limit;
        Demand demand = {}; ///< for who is told that no host has it
    };

    /// Why a job can not take the place of what runs.
    struct InTheWay {
        std::string why;
        bool passing = false; ///< it may be so for a moment alone
    };

    nomad::Client& nomad();
    nomad::Query in(const MachinePath& path) {
        return {{"namespace", nomad::namespace_of(path.tenant)}};
    }
    std::string job_path(const MachinePath& path) { return "job/" + http::escaped(path.joined()); }
    void each_job(const std::string& name_space, const std::function<void(const Json&)>& f);
    std::vector<Allocation> placed(const std::string& name_space);
    std::vector<Allocation> allocations(const MachinePath& path);
    /// By the supervisor of an allocation's host; nothing of a host that has no such name as ours.
    std::optional<std::string> said_text(const MachinePath& path, const std::string& host) const;
    std::optional<MachineState> said(const MachinePath& path, const Allocation* of) const;
    std::optional<std::string> home(const MachinePath& path) const;
    std::vector<std::string> hosts_of(const std::vector<MachinePath>& machines);
    std::uint64_t enter(const Spec& spec, const Placing& placing);
    std::optional<std::uint64_t> entered(const Spec& spec, const Json& job);
    std::optional<InTheWay> in_the_way(const Spec& spec, const Json& job);
    void make_way(const Spec& spec, const Json& job);
    std::optional<std::string> end(const MachinePath& path);
    Outcome follow(const Following& what, const Watch& watch);
    long stream(const MachinePath& path, const std::string& alloc, Console& console, bool follow,
                const std::function<bool(const std::string&)>& sink);
    void follow_logs(const MachinePath& path, std::string alloc, Console console);
    std::optional<std::string> released(const MachinePath& path);
    std::set<std::string> placeless();
    std::vector<Room> rooms(const MachinePath& without);

    const Config& config_;
    State state_;
    std::unique_ptr<Scheduler> here_;
    std::once_flag once_;
    std::optional<nomad::Client> nomad_;
};

} // namespace sky::submit
