// SPDX-License-Identifier: MIT
#include <sky-nomad-submit/orders.hpp>

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/log.hpp>

#include <exception>
#include <nlohmann/json.hpp>

namespace sky::submit {
namespace {

constexpr std::size_t kColumns = 71;
constexpr std::size_t kTextMost = 57; // and "..."
constexpr int kRequestsMost = 1000;

Verdict refusal(ExitCode why, const std::string& text) {
    return {.code = code(why), .stage = "start", .text = text, .state = "failed"};
}

} // namespace

std::vector<std::string> wrapped(const std::string& first, const std::string& text) {
    std::vector<std::string> lines{first};
    std::size_t at = 0;
    while (at < text.size()) {
        const auto end = std::min(text.find(' ', at), text.size());
        const std::string word = text.substr(at, end - at);
        const bool fresh = lines.back().find_first_not_of(' ') == std::string::npos;
        if (!fresh && lines.back().size() + 1 + word.size() > kColumns) {
            lines.push_back("       " + word);
        } else {
            lines.back() += (fresh ? "" : " ") + word;
        }
        at = end + 1;
    }
    return lines;
}

Orders::Orders(const Desk& desk)
    : desk_(desk),
      deployer_(desk.config, desk.scheduler, [this](const std::string& line) { crew_.say(line); }) {
}

void Orders::add(const Order& order, const Json& object) {
    ++count_;
    crew_.add([this, order, object] {
        Verdict verdict;
        try {
            verdict = deployer_.carry_out(order);
        } catch (const Error& e) {
            verdict = refusal(e.code(), e.what());
        } catch (const std::exception& e) {
            verdict = refusal(ExitCode::kBug, e.what());
        }
        tell(order.path.machine, object, verdict);
    });
}

void Orders::report(const Machine& machine, const Json& object, const Verdict& verdict) {
    ++count_;
    tell(machine, object, verdict);
}

void Orders::bad(int error_code, const std::string& text) {
    bad_ = error_code;
    crew_.say("sky-nomad-submit: error: " + text);
}

void Orders::tell(const Machine& machine, Json object, const Verdict& verdict) {
    if (verdict.code != 0) {
        failed_ = verdict.code;
        if (!verdict.quiet) {
            for (const auto& line : wrapped("error: " + machine.str() + ":", verdict.text)) {
                crew_.say(line);
            }
        }
        object["error"] = {{"stage", verdict.stage},
                           {"code", verdict.code},
                           {"text", printable(verdict.text, kTextMost)}};
    } else if (verdict.quiet) {
        return;
    } else {
        crew_.say(fmt::format("=====> {} {}", machine.str(), verdict.text));
        object["result"] = {
            {"state", verdict.state},
            {"host", verdict.host.empty() ? desk_.config.host : verdict.host},
            {"address", verdict.address.empty() ? Json(nullptr) : Json(verdict.address)}};
    }
    crew_.answer(object);
}

int Orders::run(int in, const std::function<void(const std::string&)>& line, bool own_code) {
    crew_.run(in, [&](const std::string& text) {
        if (++requests_ > kRequestsMost) {
            fail(ExitCode::kData, "more than {} requests", kRequestsMost);
        }
        try {
            line(text);
        } catch (const Error& e) {
            bad(code(e.code()), e.what());
        }
    });
    if (bad_ != 0) {
        return bad_;
    }
    if (failed_ == 0) {
        return 0;
    }
    return own_code && count_ == 1 ? failed_.load() : code(ExitCode::kSomeFailed);
}

} // namespace sky::submit
