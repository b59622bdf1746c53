// SPDX-License-Identifier: MIT
#pragma once

#include "sky-nomad-submit/scheduler.hpp"

#include <optional>
#include <string>

namespace sky::submit {

/// What a supervisor said of a start that is followed, and what that makes of the start. What is
/// the host's trouble may pass, as the supervisor goes on trying; what is the machine's own is its
/// end. Pure.
class Followed {
  public:
    void hear(const MachineState& said);
    [[nodiscard]] const std::optional<MachineState>& last() const { return last_; }
    /// How it ended; nothing: more may come.
    [[nodiscard]] std::optional<Outcome> answer() const;
    /// How it ends when time is over. `what` took too long.
    [[nodiscard]] Outcome late(const std::string& what) const;

  private:
    std::optional<MachineState> last_;
    bool fetches_ = false; ///< its closure is not there yet
};

} // namespace sky::submit
