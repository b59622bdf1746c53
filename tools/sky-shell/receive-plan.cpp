// SPDX-License-Identifier: MIT
#include <sky-shell/receive-plan.hpp>

#include <sky/error.hpp>
#include <sky/json.hpp>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

namespace sky::shell {
namespace {

constexpr std::size_t kMostUpdates = 128;
constexpr std::size_t kMostOptions = 64;
constexpr std::size_t kMostReason = 60;
constexpr std::string_view kHeads = "refs/heads/";
constexpr std::string_view kZero = "0000000000000000000000000000000000000000";

std::optional<Revision> parse_id(std::string_view text) {
    return text == kZero ? std::nullopt : std::optional(Revision::parse(text));
}

/// One line without control characters, short enough for git's status line.
std::string reason_text(std::string_view text) {
    return printable(text, kMostReason);
}

std::string refusal_of(const RefUpdate& update, const Branches& now, bool again) {
    if (!update.ref.starts_with(kHeads)) {
        return "only branches are taken here: refs/heads/MACHINE";
    }
    const auto name = std::string_view(update.ref).substr(kHeads.size());
    if (!Machine::valid(name)) {
        return "no machine name: use a-z 0-9 -, letter first, at most 40";
    }
    if (again) {
        return "named twice in one push";
    }
    const auto at = now.find(Machine::parse(name));
    const auto current = at == now.end() ? std::nullopt : std::optional(at->second);
    if (current != update.old_rev && update.new_rev) {
        return "the branch has moved meanwhile (fetch, then push again)";
    }
    return "";
}

} // namespace

RefUpdate parse_ref_update(std::string_view line) {
    if (line.size() < 83 || line[40] != ' ' || line[81] != ' ' ||
        line.find('\0') != std::string_view::npos) {
        fail(ExitCode::kData, "git sent no ref update where one must be");
    }
    return {parse_id(line.substr(0, 40)), parse_id(line.substr(41, 40)),
            std::string(line.substr(82))};
}

PushRequest read_push_request(const std::function<Pkt()>& next,
                              const std::function<void(std::string_view)>& answer) {
    PushRequest request;
    const Pkt hello = next();
    const auto nul = hello.data.find('\0');
    if (hello.flush() || std::string_view(hello.data).substr(0, nul) != "version=1") {
        fail(ExitCode::kData, "git speaks another version of proc-receive than 1");
    }
    const std::string features =
        nul == std::string::npos ? " " : " " + hello.data.substr(nul + 1) + " ";
    request.atomic = features.find(" atomic ") != std::string::npos;
    const bool options = features.find(" push-options ") != std::string::npos;
    if (!next().flush()) {
        fail(ExitCode::kData, "git said more than its version");
    }
    using namespace std::string_literals;
    answer(make_pkt(options ? "version=1\0push-options\n"s : "version=1\n"s) +
           std::string(kFlushPkt));
    for (Pkt pkt = next(); !pkt.flush(); pkt = next()) {
        request.updates.push_back(parse_ref_update(pkt.data));
        if (request.updates.size() > kMostUpdates) {
            fail(ExitCode::kData, "more than {} refs in one push", kMostUpdates);
        }
    }
    while (options) {
        Pkt pkt = next();
        if (pkt.flush()) {
            break;
        }
        request.options.push_back(std::move(pkt.data));
        if (request.options.size() > kMostOptions) {
            fail(ExitCode::kData, "more than {} push options", kMostOptions);
        }
    }
    return request;
}

std::optional<Machine> machine_of_ref(std::string_view ref) {
    if (!ref.starts_with(kHeads) || !Machine::valid(ref.substr(kHeads.size()))) {
        return std::nullopt;
    }
    return Machine::parse(ref.substr(kHeads.size()));
}

std::vector<Step> plan_push(const std::vector<RefUpdate>& updates, const Branches& now) {
    std::map<std::string, int> times;
    for (const auto& update : updates) {
        ++times[update.ref];
    }
    std::vector<Step> steps;
    for (const auto& update : updates) {
        Step step{Step::Kind::kRefuse, update, machine_of_ref(update.ref), ""};
        step.reason = refusal_of(update, now, times[update.ref] > 1);
        if (step.reason.empty()) {
            step.kind = update.new_rev ? Step::Kind::kBuild : Step::Kind::kDelete;
        }
        steps.push_back(std::move(step));
    }
    return steps;
}

Json pipe_line(const Step& step, const Repo& repo, const BuildId& build, bool check) {
    const auto& old_rev = step.update.old_rev;
    Json line{{"v", 1},
              {"repo", repo.str()},
              {"machine", step.machine.value().str()},
              {"old", old_rev ? Json(old_rev->str()) : Json(nullptr)},
              {"rev", step.update.new_rev.value().str()},
              {"build", build.str()}};
    if (step.tree) {
        line["tree"] = *step.tree;
    }
    if (check) {
        line["check"] = true;
    }
    return line;
}

void Answers::take(std::string_view line, const std::vector<Step>& steps) {
    const Json object = parse_json(line, 1U << 20U, "answer");
    Fields fields(object, "answer");
    const auto machine = fields.string("machine");
    const auto rev = fields.string("rev");
    const auto step = std::find_if(steps.begin(), steps.end(), [&](const Step& s) {
        return s.kind == Step::Kind::kBuild && s.machine->str() == machine &&
               s.update.new_rev->str() == rev;
    });
    if (step == steps.end()) {
        fail(ExitCode::kData, "answer: a machine or revision that was not asked about");
    }
    std::string verdict;
    if (fields.has("error")) {
        Fields error(fields.any("error"), "answer.error");
        if (error.string("stage") == "cache" && fields.boolean_or("known", false)) {
            lost_.insert(*step->machine);
            return;
        }
        verdict = reason_text(error.string("text"));
        verdict = verdict.empty() ? "failed" : verdict;
    } else if (!fields.boolean_or("cached", false)) {
        verdict = "built, but it did not reach the cache";
    }
    auto& known = verdicts_[*step->machine];
    known = known.empty() ? verdict : known; // the first error stays, whatever comes after it
}

void Answers::settle(std::vector<Step>& steps) const {
    for (auto& step : steps) {
        if (step.kind != Step::Kind::kBuild) {
            continue;
        }
        const auto verdict = verdicts_.find(*step.machine);
        if (verdict == verdicts_.end() || !verdict->second.empty()) {
            step.kind = Step::Kind::kRefuse;
            step.reason =
                verdict == verdicts_.end() ? "the build ended without a verdict" : verdict->second;
        }
    }
}

void settle_atomic(std::vector<Step>& steps) {
    const auto bad = std::find_if(steps.begin(), steps.end(),
                                  [](const Step& s) { return s.kind == Step::Kind::kRefuse; });
    if (bad == steps.end()) {
        return;
    }
    const std::string reason = reason_text(
        fmt::format("atomic: {}: {}", bad->machine ? bad->machine->str() : "a ref", bad->reason));
    for (auto& step : steps) {
        if (step.kind != Step::Kind::kRefuse) {
            step.kind = Step::Kind::kRefuse;
            step.reason = reason;
        }
    }
}

std::string reply(const std::vector<Step>& steps) {
    std::string out;
    std::set<std::string> said; // git takes one answer for each name
    for (const auto& step : steps) {
        const auto& ref = step.update.ref;
        // A space would end the name in the answer, and a long name is no machine's: git refuses
        // what stays unanswered.
        if (ref.find(' ') != std::string::npos || ref.size() > 1024 || !said.insert(ref).second) {
            continue;
        }
        if (step.kind == Step::Kind::kRefuse) {
            out += make_pkt("ng " + ref + " " + step.reason);
        } else {
            out += make_pkt("ok " + ref) + make_pkt("option fall-through");
        }
    }
    return out + std::string(kFlushPkt);
}

} // namespace sky::shell
