// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include "unit/submit.hpp"
#include <sky-nomad-submit/followed.hpp>

using namespace sky;
using namespace sky::submit;

namespace {

struct Said {
    const char* state;
    int blame = 1;
    const char* why = nullptr;
};

Followed heard(const std::vector<Said>& all) {
    Followed out;
    for (const Said& each : all) {
        MachineState line{.path = test::path("alice", "infra", "www"), .state = each.state};
        line.blame = each.blame;
        if (each.why != nullptr) {
            line.why = each.why;
        }
        out.hear(line);
    }
    return out;
}

} // namespace

TEST_CASE("a start is over when the machine is ready, or has failed itself", "[nomad]") {
    CHECK_FALSE(Followed().answer());
    CHECK_FALSE(heard({{"fetching", 69}, {"starting", 69}, {"running"}}).answer());
    CHECK(heard({{"running"}, {"ready"}}).answer()->good());
    for (const Said& its_own :
         {Said{"backoff"}, Said{"failed"}, Said{"stopped", 1, "it powered itself off"}}) {
        CHECK(heard({{"running"}, its_own}).answer()->machine_failed());
    }
}

TEST_CASE("what may pass is waited for", "[nomad]") {
    for (const int blame : {69, 71, 74, 75}) {
        CHECK_FALSE(heard({{"starting", 69}, {"backoff", blame}}).answer());
    }
    CHECK_FALSE(heard({{"running"}, {"stopped", 1, "the supervisor was told to stop"}}).answer());
    CHECK(heard({{"backoff", 69}, {"running"}, {"ready"}}).answer()->good());
    CHECK(heard({{"backoff", 69}, {"running"}, {"backoff"}}).answer()->machine_failed());
}

TEST_CASE("a closure that the cache lacks is not waited for: a push can bring it", "[nomad]") {
    CHECK(heard({{"fetching", 69}, {"backoff", 69}}).answer()->uncached());
    CHECK(heard({{"fetching", 69}, {"failed", 65}}).answer()->uncached());
    CHECK_FALSE(heard({{"fetching", 69}, {"backoff", 74}}).answer());
    CHECK_FALSE(heard({{"fetching", 69}, {"starting", 69}, {"backoff", 69}}).answer());
}

TEST_CASE("who gives up for the host's sake does not blame the machine", "[nomad]") {
    const auto gave_up = heard({{"starting", 69}, {"failed", 78, "refused"}}).answer();
    REQUIRE(gave_up);
    CHECK_FALSE(gave_up->machine_failed());
    CHECK(gave_up->failure_code() == 78);
    CHECK(gave_up->reason() == "refused");
}

TEST_CASE("once time is over, the machine is at fault if it had its turn", "[nomad]") {
    const std::string late = "not ready in 9 s";
    CHECK(heard({{"starting", 69}, {"running"}}).late(late).machine_failed());
    CHECK(heard({{"running"}, {"starting", 1, "the guest powered off or rebooted"}})
              .late(late)
              .machine_failed());

    const auto waits = heard({{"starting", 69}, {"backoff", 71, "no tap"}}).late(late);
    CHECK_FALSE(waits.machine_failed());
    CHECK(waits.failure_code() == 71);
    CHECK(waits.reason() == "not ready in 9 s: no tap");
    CHECK_FALSE(heard({{"running"}, {"stopped"}}).late(late).machine_failed());

    const auto silence = Followed().late("nothing was heard");
    CHECK(silence.failure_code() == 69);
    CHECK(silence.reason() == "nothing was heard");
    CHECK_FALSE(silence.uncached());
}
