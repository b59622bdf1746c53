// SPDX-License-Identifier: MIT
#pragma once

#include "sky-shell/pkt-line.hpp"

#include <sky/name.hpp>

#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace sky::shell {

/// Branches of a repo: machine to commit.
using Branches = std::map<Machine, Revision>;

/// One "old new ref" of a push. An all-zero id is nothing.
struct RefUpdate {
    std::optional<Revision> old_rev;
    std::optional<Revision> new_rev;
    std::string ref; ///< unchecked bytes: a client can put anything but NUL in it
};

/// Throws Error(kData).
[[nodiscard]] RefUpdate parse_ref_update(std::string_view line);

struct PushRequest {
    bool atomic = false;
    std::vector<RefUpdate> updates;
    std::vector<std::string> options;
};

/// What git asks a proc-receive hook (gitprotocol: githooks(5), proc-receive). `answer` is called
/// with the version packet that git waits for in between. Throws Error(kData).
[[nodiscard]] PushRequest read_push_request(const std::function<Pkt()>& next,
                                            const std::function<void(std::string_view)>& answer);

/// The machine a ref stands for, if it is refs/heads/MACHINE.
[[nodiscard]] std::optional<Machine> machine_of_ref(std::string_view ref);

/// What becomes of one update of the push.
struct Step {
    enum class Kind { kBuild, kDelete, kRefuse };
    Kind kind = Kind::kRefuse;
    RefUpdate update;
    std::optional<Machine> machine;
    std::string reason;                             ///< of a refusal: at most 60 columns
    std::optional<std::string> tree = std::nullopt; ///< of a commit that is built, once known
};

/// Decides by names alone, and by what git would find wrong only after the build: a ref named
/// twice, an old value that is not `now`.
[[nodiscard]] std::vector<Step> plan_push(const std::vector<RefUpdate>& updates,
                                          const Branches& now);

/// The pipe's line for a step of kind kBuild. `check`: nothing is to be relied on but what is
/// there.
[[nodiscard]] nlohmann::json pipe_line(const Step& step, const Repo& repo, const BuildId& build,
                                       bool check = false);

/// Takes in what the pipe gave back. A step whose machine does not come back, or comes back with an
/// error, or uncached, becomes a refusal.
class Answers {
  public:
    /// Machines whose deployment was known from before, which the cache lost meanwhile: without a
    /// verdict until they come back, asked for again.
    [[nodiscard]] const std::set<Machine>& lost() const noexcept { return lost_; }
    /// Throws Error(kData) for a line that is no answer to any of `steps`.
    void take(std::string_view line, const std::vector<Step>& steps);
    /// Turns the steps without a good answer into refusals.
    void settle(std::vector<Step>& steps) const;

  private:
    std::map<Machine, std::string> verdicts_; ///< empty: good
    std::set<Machine> lost_;
};

/// With --atomic one refusal is everybody's: each other step gets it as its reason, named.
void settle_atomic(std::vector<Step>& steps);

/// The packets that answer git: ok + fall-through, or ng with the reason; ends with a flush.
[[nodiscard]] std::string reply(const std::vector<Step>& steps);

} // namespace sky::shell
