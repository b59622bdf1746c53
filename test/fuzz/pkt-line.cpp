// SPDX-License-Identifier: MIT
// git's pkt-lines, the request of proc-receive made of them, and what the pipe answers.
#include "sky-shell/pkt-line.hpp"
#include "sky-shell/receive-plan.hpp"

#include <sky/error.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

using namespace sky;
using namespace sky::shell;

namespace {

void check(bool condition) {
    if (!condition) {
        std::abort();
    }
}

void round_trip(std::string_view rest) {
    try {
        while (const auto pkt = take_pkt(rest)) {
            const std::string wire =
                pkt->flush() ? std::string(kFlushPkt) : make_pkt(pkt->data + "\n");
            std::string_view view = wire;
            check(pkt->data.size() == kMostPktData || take_pkt(view) == pkt);
        }
    } catch (const Error& e) {
        check(e.code() == ExitCode::kData || e.code() == ExitCode::kBug); // data + newline too long
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string input(reinterpret_cast<const char*>(data), size);
    round_trip(input);
    try {
        std::string_view rest = input;
        const auto push = read_push_request(
            [&] {
                auto pkt = take_pkt(rest);
                if (!pkt) {
                    fail(ExitCode::kData, "end");
                }
                return *pkt;
            },
            [](std::string_view) {});
        auto steps = plan_push(push.updates, {});
        Answers answers;
        answers.settle(steps);
        settle_atomic(steps);
        for (const auto& step : steps) { // nothing came back: nothing but deletions goes on
            check(step.kind != Step::Kind::kBuild && step.reason.size() <= 63);
        }
        const std::string packets = reply(steps);
        std::string_view view = packets;
        while (const auto pkt = take_pkt(view)) {
            check(pkt->flush() || pkt->data.starts_with("ng ") || pkt->data.starts_with("ok ") ||
                  pkt->data == "option fall-through");
        }
        check(view.empty());
    } catch (const Error& e) {
        check(e.code() == ExitCode::kData);
    }
    return 0;
}
