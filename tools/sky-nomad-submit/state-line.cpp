// SPDX-License-Identifier: MIT
#include "sky-nomad-submit/scheduler.hpp"

#include <sky/cli.hpp>
#include <sky/error.hpp>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

namespace sky::submit {
namespace {

constexpr std::array<std::string_view, 7> kStates{"fetching", "starting", "running", "ready",
                                                  "backoff",  "stopped",  "failed"};

} // namespace

MachineState MachineState::parse(std::string_view json) {
    const Json value = parse_json(json, kSpecBytesMax, "state line");
    Fields fields(value, "");
    static_cast<void>(fields.integer("v", 1, 1));
    MachineState out{.path = {parse_name<Tenant>(fields, "tenant"),
                              parse_name<Repo>(fields, "repo"),
                              parse_name<Machine>(fields, "machine")},
                     .state = fields.string("state"),
                     .rev = std::nullopt,
                     .spec = fields.optional_string("spec"),
                     .host = fields.optional_string("host"),
                     .alloc = fields.optional_string("alloc"),
                     .since = fields.optional_string("since"),
                     .address = {},
                     .restarts = fields.integer_or("restarts", 0, INT64_MAX, 0),
                     .why = fields.optional_string("why")};
    if (std::find(kStates.begin(), kStates.end(), out.state) == kStates.end()) {
        fields.wrong("state", "a state");
    }
    if (fields.has("rev")) {
        out.rev = parse_name<Revision>(fields, "rev");
    }
    out.lives = fields.integer_or("pid", 0, INT64_MAX, 0) > 0;
    out.blame = static_cast<int>(fields.integer_or("code", 1, 255, 1));
    fields.each(
        "address",
        [&](const Json& address, const std::string& path) {
            out.address.push_back(printable(string_of(address, path), 45));
        },
        true);
    if (out.why) {
        out.why = printable(*out.why, 200);
    } // no done(): it may be of a host that is a version ahead
    return out;
}

bool MachineState::rests() const {
    return state == "stopped" && why == "it powered itself off";
}

bool Outcome::uncached() const {
    return last &&
           (exit_code == code(ExitCode::kUnavailable) || exit_code == code(ExitCode::kData));
}

int Outcome::failure_code() const {
    if (machine_failed()) {
        return 1;
    }
    const bool ours = exit_code >= code(ExitCode::kData) && exit_code <= code(ExitCode::kConfig);
    return ours ? exit_code : code(ExitCode::kUnavailable); // sudo's 1, a signal, silence
}

std::string Outcome::reason() const {
    if (last && last->why) {
        return *last->why;
    }
    if (!said.empty()) {
        constexpr std::string_view kPrefix = "sky-vm-run: error: ";
        const std::string_view text = said;
        return printable(text.starts_with(kPrefix) ? text.substr(kPrefix.size()) : text, 200);
    }
    return fmt::format("the scheduler answered {}", exit_code);
}

} // namespace sky::submit
