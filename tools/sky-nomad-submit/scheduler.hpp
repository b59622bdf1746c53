// SPDX-License-Identifier: MIT
#pragma once

#include "sky-nomad-submit/machine-record.hpp"

#include <sky/config.hpp>
#include <sky/json.hpp>
#include <sky/spec.hpp>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace sky::submit {

/// A machine as the scheduler sees it: the state line of doc/interfaces.md, "sky-vm-run".
struct MachineState {
    MachinePath path;
    std::string state = {}; ///< fetching starting running ready backoff stopped failed
    std::optional<Revision> rev = {};
    std::optional<std::string> spec = {};
    std::optional<std::string> host = {};
    std::optional<std::string> alloc = {}; ///< Nomad's allocation
    std::optional<std::string> since = {};
    std::vector<std::string> address = {};
    std::int64_t restarts = 0;
    std::optional<std::string> why = {};
    bool lives = false; ///< a process of it is there
    /// 1: the machine is at fault. Else the host's trouble: of `starting`, `backoff` and `failed`.
    int blame = 1;

    /// Something of it lives, or will by itself.
    [[nodiscard]] bool is_up() const { return lives || (state != "stopped" && state != "failed"); }
    /// It powered itself off and asked to be left so (`on_poweroff`: "stay").
    [[nodiscard]] bool rests() const;
    /// Strict. Error(kData) naming the key.
    [[nodiscard]] static MachineState parse(std::string_view json);
};

/// How a request to the scheduler ended.
struct Outcome {
    int exit_code = 0;
    std::optional<MachineState> last; ///< the last state line
    std::string said;                 ///< the last line for people

    /// The machine is what was asked for.
    [[nodiscard]] bool good() const { return exit_code == 0 && last.has_value(); }
    /// The machine failed, the scheduler did not.
    [[nodiscard]] bool machine_failed() const { return exit_code == 1 && last.has_value(); }
    /// Its closure is not in the cache, or damaged there.
    [[nodiscard]] bool uncached() const;
    /// When it is not good: 1 if the machine failed, else what to exit with.
    [[nodiscard]] int failure_code() const;
    /// One line of what went wrong.
    [[nodiscard]] std::string reason() const;
};

/// What a request that the machine made fail ends with.
[[nodiscard]] Outcome failed_because(const std::optional<MachineState>& last,
                                     const MachinePath& path, const std::string& why);

/// What was granted of where a machine may run. Beside the spec: it restarts nothing.
struct Placing {
    std::vector<std::string> placements; ///< names of the configuration's
    std::vector<MachinePath> apart;      ///< on no host that has one of these
    bool operator==(const Placing&) const = default;
};

/// What N+1 lacks.
struct Lack {
    std::string text;     ///< with the numbers asked, used and allowed
    bool passing = false; ///< hosts that are away, perhaps for a moment, have it
};

/// Who runs machines. On one host that is sky-vm-run. Any number of calls may be under way at once.
class Scheduler {
  public:
    /// Called for each state line while a request is under way.
    using Watch = std::function<void(const MachineState&)>;

    Scheduler() = default;
    Scheduler(const Scheduler&) = delete;
    Scheduler& operator=(const Scheduler&) = delete;
    virtual ~Scheduler() = default;

    /// Gives machines their registry entries; a line for each, as `sky-vm-run register` answers.
    [[nodiscard]] virtual std::vector<Json> enrol(const Tenant& tenant, const Repo& repo,
                                                  const std::vector<Machine>& machines,
                                                  std::int64_t max) = 0;
    /// Returns when the machine is ready or has failed. The same spec hash restarts nothing.
    [[nodiscard]] virtual Outcome start(const Spec& spec, const Placing& placing,
                                        const Watch& watch) = 0;
    /// The state of a machine that is ready with this very spec, if that can be told in
    /// milliseconds and without asking anybody; then there is nothing to start.
    [[nodiscard]] virtual std::optional<MachineState> ready(const Spec& /*spec*/) {
        return std::nullopt;
    }
    /// What a machine that shall run was granted; nothing for one that shall not.
    using Granted = std::function<std::optional<Amount>(const MachinePath&)>;
    /// N+1: what lacks if the hosts could not take it once any one of them has died, beside what
    /// runs, what waits for a place, and `coming`, of whom the scheduler may not know yet.
    [[nodiscard]] virtual std::optional<Lack> not_spared(const Spec& /*spec*/,
                                                         const std::set<MachinePath>& /*coming*/,
                                                         const Granted& /*granted*/) {
        return std::nullopt;
    }
    /// `forget`: gives the registry entry back too; volumes are kept.
    [[nodiscard]] virtual Outcome stop(const MachinePath& path, bool forget,
                                       const Watch& watch) = 0;
    [[nodiscard]] virtual Outcome restart(const MachinePath& path, const Watch& watch) = 0;
    /// All machines, or a tenant's. Error(kUnavailable) when it can not say.
    [[nodiscard]] virtual std::vector<MachineState> list(const std::optional<Tenant>& tenant) = 0;
    /// All machines, as far as `reconcile` must know them: whether they are up, and of which spec.
    [[nodiscard]] virtual std::vector<MachineState> overview() { return list(std::nullopt); }
    /// The tenant's machines that the host looks after, in milliseconds and without asking anybody:
    /// what is not among them deserves a closer look.
    [[nodiscard]] virtual std::set<MachinePath> watched(const Tenant& tenant) = 0;
    /// Console bytes to our own stdout, until the end, or until nobody reads when `follow`. The
    /// exit code.
    virtual int logs(const MachinePath& path, bool follow, std::int64_t lines) = 0;
    /// stdin and stdout to a port of a machine at `address`, dialled on the machine's host. The
    /// exit code.
    virtual int connect(const MachinePath& path, const std::string& address, std::uint16_t port);
};

/// Nomad where the configuration has it, else `sky-vm-run` of this host.
[[nodiscard]] std::unique_ptr<Scheduler> make_scheduler(const Config& config);
/// `sky-vm-run` of this host, through sudo.
[[nodiscard]] std::unique_ptr<Scheduler> make_local_scheduler(const Config& config);

} // namespace sky::submit
