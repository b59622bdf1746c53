// SPDX-License-Identifier: MIT
#pragma once

#include "sky-nomad-submit/admission.hpp"
#include "sky-nomad-submit/machine-record.hpp"
#include "sky-nomad-submit/scheduler.hpp"
#include "sky-nomad-submit/usage.hpp"

#include <sky/config.hpp>

#include <functional>
#include <optional>
#include <string>

namespace sky::submit {

/// One thing to do to one machine.
struct Order {
    enum class Kind {
        kDeploy,   ///< an accepted push (or `redeploy`) of `rev`: clears want and pin
        kResume,   ///< bring up what the record wants
        kRollback, ///< pin `to`, or the last good revision that is not running
        kStop,     ///< want stopped
        kSettle,   ///< stop what runs and should not; the record stays as it is
        kRestart,
        kForget, ///< the branch is gone
    };
    Kind kind = Kind::kDeploy;
    MachinePath path;
    std::optional<Revision> rev; ///< kDeploy, kRollback: where the branch is
    std::optional<Revision> to;  ///< kRollback
    std::optional<BuildId> session;
    bool dry_run = false; ///< say what would be done, and change nothing
};

/// How it ended.
struct Verdict {
    int code = 0;             ///< an exit code; 0: as ordered
    std::string stage = {};   ///< "admit" or "start", when code is not 0
    std::string text = {};    ///< what went wrong, or how it went: a line for people
    std::string state = {};   ///< running, stopped, failed
    std::string host = {};    ///< where it runs
    std::string address = {}; ///< the first, if it runs
    bool quiet = false;       ///< people need not hear of it
};

/// Carries orders out: record, admission, scheduler, verdict. Safe to call from several threads,
/// for one machine too: a lock per machine orders them. Writes to no descriptor of a tenant;
/// progress goes to `say`, which must not block.
class Deployer {
  public:
    using Say = std::function<void(const std::string& line)>;

    Deployer(const Config& config, Scheduler& scheduler, Say say);

    /// Throws nothing that is the machine's fault; Error when the records can not be read or
    /// written.
    [[nodiscard]] Verdict carry_out(const Order& order);

  private:
    struct Job; ///< an order under way: its path, session and record
    Verdict deploy(Job& job, const Revision& rev);
    std::optional<Verdict> already_up(Job& job, const Revision& rev);
    Verdict resume(Job& job);
    Verdict rollback(Job& job, const Order& order);
    [[nodiscard]] static Revision rollback_target(const Job& job, const Order& order);
    Verdict restart(Job& job);
    Verdict stop(Job& job, bool wanted);
    Verdict forget(Job& job);
    Verdict dry(const Job& job, const Order& order) const;

    Admitted admitted(const Job& job, const Revision& rev) const;
    Admitted reserve(Job& job, const Revision& rev);
    std::optional<Admitted> reserved(Job& job, const Revision& rev, bool patient);
    bool check_spare(const Job& job, const Spec& spec, bool patient);
    Verdict bring_up(Job& job, const Revision& rev);
    Verdict hold_back(Job& job, const Revision& failed, const std::string& why);
    Verdict came_up(Job& job, const Admitted& what, const Outcome& outcome);
    Verdict went_wrong(Job& job, const std::optional<Revision>& rev, const char* stage, int code,
                       const std::string& why);
    Scheduler::Watch watch(const MachinePath& path) const;
    void save(const Job& job) const;

    const Config& config_;
    Scheduler& scheduler_;
    Say say_;
    Records records_;
    UsageBook accounts_;
};

} // namespace sky::submit
