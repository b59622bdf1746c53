// SPDX-License-Identifier: MIT
#include <sky-nomad-submit/drain.hpp>

#include "sky-nomad-submit/nomad-job.hpp"
#include "sky-nomad-submit/operator-token.hpp"

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/log.hpp>
#include <sky/nomad/client.hpp>
#include <sky/registry.hpp>
#include <sky/state.hpp>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <thread>
#include <unistd.h>

namespace sky::submit {
namespace {

using nomad::Client;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kLook{500};
constexpr seconds kSlack{60};
constexpr std::size_t kStateMost = std::size_t{64} << 10;

class Drain {
  public:
    Drain(const Config& config, const std::string& host)
        : config_(config), host_(host), state_(config), nomad_(operator_client(config)),
          node_(find_node()) {}

    int run(seconds deadline, bool dry_run);
    void undo();

  private:
    enum class Left { kUp, kWaits, kFailed };

    std::string find_node();
    std::vector<Allocation> machines();
    std::vector<Allocation> of_job(const Allocation& each);
    Left move(const Allocation& each, Clock::time_point end);
    void empty(Clock::time_point end);
    bool ready(const MachinePath& path, const Allocation& there);

    const Config& config_;
    const std::string& host_;
    State state_;
    Client nomad_;
    std::string node_; ///< Nomad's id of it
};

std::string Drain::find_node() {
    for (const Json& node : nomad_.get("nodes")) {
        if (node.value("Name", "") == host_ && node.value("Status", "") != "down") {
            return node.at("ID").get<std::string>();
        }
    }
    fail(ExitCode::kRefused, "no host '{}' is up", host_);
}

/// Ours that live there, by name.
std::vector<Allocation> Drain::machines() {
    auto all = allocations_of(nomad_.get("node/" + node_ + "/allocations"));
    std::erase_if(all, [](const Allocation& a) {
        return !nomad::tenant_of_namespace(a.name_space) ||
               (a.state != "running" && a.state != "pending");
    });
    std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.job < b.job; });
    return all;
}

std::vector<Allocation> Drain::of_job(const Allocation& each) {
    return allocations_of(nomad_.get("job/" + http::escaped(each.job) + "/allocations",
                                     {{"namespace", each.name_space}, {"all", "true"}}));
}

bool Drain::ready(const MachinePath& path, const Allocation& there) {
    const auto text = Machine::valid(there.node)
                          ? read_file_if_exists(state_.said(path, there.node), kStateMost)
                          : std::nullopt;
    if (!text) {
        return false;
    }
    const auto said = MachineState::parse(*text);
    return said.alloc == there.id && (said.state == "ready" || said.rests());
}

/// Shuts one down, and waits until it is up elsewhere.
Drain::Left Drain::move(const Allocation& each, Clock::time_point end) {
    const auto path = MachinePath::parse_joined(each.job);
    const bool stays = home_of(load_registry(config_), path).has_value();
    log::say(fmt::format("-----> {} leaves {}", path.text(), host_));
    nomad_.put("allocation/" + each.id + "/stop", {{"namespace", each.name_space}}, Json::object(),
               Client::Again::kSafe);
    const auto limit = std::min(end, Clock::now() +
                                         seconds(config_.machine.stop_s + config_.machine.ready_s +
                                                 config_.nomad->place_s) +
                                         kSlack);
    for (;;) {
        const auto all = of_job(each);
        const Allocation* now = newest(all);
        const auto old =
            std::find_if(all.begin(), all.end(), [&](const auto& a) { return a.id == each.id; });
        const bool ended = old == all.end() || old->ended();
        if (ended && stays) {
            log::say(
                fmt::format("       {} waits for {}, which has its volumes", path.text(), host_));
            return Left::kWaits;
        }
        if (ended && now != nullptr && now->id != each.id && ready(path, *now)) {
            log::say(fmt::format("       {} is up on {}", path.text(), now->node));
            return Left::kUp;
        }
        if (Clock::now() >= limit) {
            log::say(fmt::format("       {} is not up elsewhere yet", path.text()));
            return Left::kFailed;
        }
        std::this_thread::sleep_for(kLook);
    }
}

/// What is left goes at once, and is waited for.
void Drain::empty(Clock::time_point end) {
    constexpr std::int64_t kNow = -1;
    const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(end - Clock::now());
    nomad_.put("node/" + node_ + "/drain", {},
               {{"NodeID", node_},
                {"DrainSpec", {{"Deadline", left.count() > 0 ? left.count() : kNow}}},
                {"MarkEligible", false}},
               Client::Again::kSafe);
    const auto limit = std::max(end, Clock::now()) + seconds(config_.machine.stop_s) + kSlack;
    while (!machines().empty()) {
        if (Clock::now() > limit) {
            fail(ExitCode::kUnavailable, "'{}' does not get empty: '{}' lives on", host_,
                 machines().front().job);
        }
        std::this_thread::sleep_for(kLook);
    }
}

int Drain::run(seconds deadline, bool dry_run) {
    const auto end = Clock::now() + deadline;
    if (dry_run) {
        for (const auto& each : machines()) {
            log::say(fmt::format("-----> {} would leave {}",
                                 MachinePath::parse_joined(each.job).text(), host_));
        }
        return 0;
    }
    nomad_.put("node/" + node_ + "/eligibility", {},
               {{"NodeID", node_}, {"Eligibility", "ineligible"}}, Client::Again::kSafe);
    bool failed = false;
    for (const auto& each : machines()) {
        if (Clock::now() < end) {
            failed = move(each, end) == Left::kFailed || failed;
        } else {
            log::say(fmt::format("-----> {} leaves {} with all that is left: the deadline is over",
                                 MachinePath::parse_joined(each.job).text(), host_));
            failed = true;
        }
    }
    empty(end);
    log::say(fmt::format("=====> {} is empty", host_));
    return code(failed ? ExitCode::kSomeFailed : ExitCode::kOk);
}

void Drain::undo() {
    nomad_.put("node/" + node_ + "/drain", {},
               {{"NodeID", node_}, {"DrainSpec", nullptr}, {"MarkEligible", true}},
               Client::Again::kSafe);
}

void check_root() {
    if (::geteuid() != 0) {
        fail(ExitCode::kRefused, "hosts are drained by root");
    }
}

} // namespace

int drain_host(const Config& config, const std::string& host, seconds deadline, bool dry_run) {
    check_root();
    check_storage(config);
    return Drain(config, host).run(deadline, dry_run);
}

int undrain_host(const Config& config, const std::string& host, bool dry_run) {
    check_root();
    Drain drain(config, host);
    if (dry_run) {
        log::say(fmt::format("-----> {} would take machines again", host));
        return 0;
    }
    drain.undo();
    log::say(fmt::format("=====> {} takes machines again", host));
    return 0;
}

} // namespace sky::submit
