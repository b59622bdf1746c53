// SPDX-License-Identifier: MIT
#include <sky-nomad-submit/followed.hpp>

#include <sky/cli.hpp>
#include <sky/error.hpp>

namespace sky::submit {

void Followed::hear(const MachineState& said) {
    last_ = said;
    fetches_ = said.state == "fetching" || (fetches_ && said.state == "backoff");
}

std::optional<Outcome> Followed::answer() const {
    const auto with = [this](int exit_code) {
        return Outcome{.exit_code = exit_code, .last = last_, .said = ""};
    };
    if (!last_) {
        return std::nullopt;
    }
    if (last_->state == "ready") {
        return with(0);
    }
    if (last_->rests()) {
        return with(1);
    }
    if (last_->state == "failed") {
        return with(last_->blame);
    }
    const bool uncached = fetches_ && last_->blame == code(ExitCode::kUnavailable);
    if (last_->state == "backoff" && (last_->blame == 1 || uncached)) {
        return with(last_->blame); // who pushes can fill the cache, waiting can not
    }
    return std::nullopt;
}

Outcome Followed::late(const std::string& what) const {
    const auto text = fmt::format("{}{}{}", what, last_ && last_->why ? ": " : "",
                                  last_ ? last_->why.value_or("") : "");
    if (last_ && (last_->state == "running" || (last_->state != "stopped" && last_->blame == 1))) {
        return failed_because(last_, last_->path, text);
    }
    const bool blames = last_ && last_->state != "stopped";
    return {.exit_code = blames ? last_->blame : code(ExitCode::kUnavailable),
            .last = std::nullopt, // nothing that a push of the same would mend
            .said = text};
}

Outcome failed_because(const std::optional<MachineState>& last, const MachinePath& path,
                       const std::string& why) {
    MachineState state = last.value_or(MachineState{.path = path});
    state.state = "failed";
    state.why = why;
    return {.exit_code = 1, .last = state, .said = why};
}

} // namespace sky::submit
