// SPDX-License-Identifier: MIT
#include <sky-vm-run/lease.hpp>
#include <sky-vm-run/ownership.hpp>
#include <sky-vm-run/processes.hpp>
#include <sky-vm-run/vm.hpp>
#include <sky-vm-run/volume.hpp>

#include <sky/error.hpp>
#include <sky/lock.hpp>
#include <sky/log.hpp>
#include <sky/nomad/client.hpp>
#include <sky/process.hpp>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <map>
#include <poll.h>
#include <set>
#include <sys/signalfd.h>
#include <unistd.h>
#include <utility>

namespace sky::vm {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kEnd{10};                 ///< for a machine that was killed to be gone
constexpr seconds kPatience{10};            ///< for Nomad's answer to who gives a machine up
constexpr std::chrono::hours kLongWork{24}; ///< on a volume; who asks for it goes on asking
constexpr milliseconds kAtOnce{20};         ///< after somebody else's write
constexpr milliseconds kNoContact{1000};    ///< between two tries, at most

/// First uids of the machines that were started here without leased volumes.
std::set<uid_t> unleased(const Config& config) {
    std::set<uid_t> out;
    for (const auto& entry : std::filesystem::directory_iterator(config.state / "vm")) {
        const auto running = load<Running>(entry.path() / "running.json");
        if (running && running->lease.empty()) {
            out.insert(running->uid);
        }
    }
    return out;
}

/// Ends every machine that is not known to do without the lease.
void end_leased(const Config& config) {
    const auto spared = unleased(config);
    std::set<uid_t> ended;
    for (const auto& process : processes_of(config.machine_uid_first, config.machine_uid_count)) {
        const uid_t within = (process.uid - config.machine_uid_first) % kUidsPerMachine;
        if (!spared.contains(process.uid - within)) {
            ended.insert(process.uid - within);
        }
    }
    for (const auto uid : ended) {
        log::warn("ending the machine of uid {}", uid);
        kill_block(uid, kEnd);
    }
}

/// A process for each machine that is being given up: it may have to wait for the storage, and the
/// lease must not.
class Releases {
  public:
    explicit Releases(const Config& config) : config_(config) {}

    bool under_way_or_done(const LeaseClaim& claim) {
        const auto key = std::pair(claim.machine, claim.generation);
        const auto at = children_.find(key);
        if (at == children_.end()) {
            log::info("{} asks for {}, generation {}", printable(claim.by, 64),
                      printable(claim.machine, 128), claim.generation);
            Command command(config_.tool("sky-vm-run"));
            command.args({"--config", config_.file.string(), "release", claim.machine,
                          std::to_string(claim.generation)});
            children_.emplace(key, command.spawn());
            return false;
        }
        const auto ended = at->second.wait_for(milliseconds::zero());
        if (ended) {
            children_.erase(at);
        }
        return ended && *ended == 0;
    }

  private:
    const Config& config_;
    std::map<std::pair<std::string, std::uint64_t>, Child> children_;
};

class Stop {
  public:
    Stop() {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        ::sigprocmask(SIG_BLOCK, &set, nullptr);
        signals_ = Fd(::signalfd(-1, &set, SFD_CLOEXEC));
        if (!signals_) {
            fail_errno("cannot watch signals");
        }
    }
    /// True when told to stop within `limit`.
    [[nodiscard]] bool within(milliseconds limit) const {
        pollfd entry{signals_.get(), POLLIN, 0};
        return ::poll(&entry, 1, static_cast<int>(limit.count())) == 1;
    }

  private:
    Fd signals_;
};

} // namespace

int lease_verb(const Config& config) {
    if (!config.nomad) {
        fail(ExitCode::kConfig, "nomad: a single host needs no lease");
    }
    make_directories(config.state, 0755);
    const Lock only = Lock::take(config.state / "lease.lock", fmt::format("pid {}", ::getpid()),
                                 milliseconds(2000));
    std::ofstream("/proc/self/oom_score_adj") << -1000; // a host without lease ends its machines
    const seconds length(config.nomad->lease_s);
    const auto third = milliseconds(length) / 3;
    const auto store =
        lease_store(*config.nomad, nomad::read_token(config.nomad->host_token), third);
    Releases releases(config);
    LeaseHolder holder(*store, config.host, length, State(config).deadline(),
                       {.end_all = [&] { end_leased(config); },
                        .give_up = [&](const auto& c) { return releases.under_way_or_done(c); }});
    const Stop stop;
    bool holds = false;
    bool said = false; // that it never did
    std::string incarnation;
    for (;;) {
        milliseconds pause = third;
        try {
            if (holder.renew()) {
                if (!std::exchange(holds, true) || incarnation != holder.deadline().incarnation()) {
                    incarnation = holder.deadline().incarnation();
                    log::info("holds the host's lease, as {}", incarnation);
                }
            } else {
                pause = kAtOnce;
            }
        } catch (const Error& e) {
            if (e.code() == ExitCode::kConfig) {
                throw;
            }
            if (std::exchange(holds, false) || !std::exchange(said, true)) {
                log::warn("renews nothing: {}", e.what());
            }
            pause = std::min(kNoContact, third / 4);
        }
        if (stop.within(pause)) {
            return 0;
        }
    }
}

int release_verb(const Config& config, const MachinePath& machine, std::uint64_t generation) {
    const Vm vm(config, machine);
    const auto store = owner_store(config, machine, vm.files.owner(), kPatience);
    std::optional<Lock> volumes; // who works on them ends first, and may take long
    if (std::filesystem::exists(vm.files.volume_lock())) {
        volumes = Lock::take(vm.files.volume_lock(), "sky-vm-run release", kLongWork);
    }
    for (;;) {
        const auto there = store->read();
        if (!there || there->owner.host != config.host || there->owner.generation != generation ||
            there->owner.released) {
            return 0; // a claim to what is past
        }
        // From here on a start fails its last question, or what it made is found below.
        const auto running = load<Running>(vm.files.running());
        kill_block(running ? running->uid : vm.entry().uid, kEnd);
        settle_volumes(config, machine);
        Owner owner = there->owner;
        owner.released = true;
        owner.at = now_text();
        if (store->write(owner, there->index)) {
            log::info("'{}' was given up, generation {}", machine.text(), generation);
            return 0;
        }
    }
}

} // namespace sky::vm
