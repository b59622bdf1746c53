// SPDX-License-Identifier: MIT
#include <sky-vm-run/step.hpp>

#include <algorithm>
#include <utility>

namespace sky::vm {

using std::chrono::milliseconds;
using std::chrono::seconds;

Step next_step(const Facts& f) noexcept {
    if (f.alive) {
        if (f.terminating || !f.want_running) {
            return Step::kStop;
        }
        if (f.current || f.hopeless) {
            return Step::kWatch;
        }
        if (f.prepared) {
            return Step::kStop;
        }
        return f.backoff > milliseconds::zero() ? Step::kWatch : Step::kPrepare;
    }
    if (f.terminating || !f.want_running || f.rests || f.hopeless) {
        return Step::kLeave;
    }
    return f.backoff > milliseconds::zero() ? Step::kWait : Step::kBoot;
}

seconds Backoff::died(milliseconds up) noexcept {
    if (up >= kSteady) {
        next_ = kLeast;
    }
    ++restarts_;
    return std::exchange(next_, std::min(next_ * 2, kMost));
}

void Backoff::reset() noexcept {
    next_ = kLeast;
}

StopPlan plan_stop(seconds stop) noexcept {
    const milliseconds all = stop;
    const milliseconds kill_at = all - std::min<milliseconds>(all / 4, seconds(2));
    return {kill_at - std::min<milliseconds>(all / 4, seconds(4)), kill_at};
}

} // namespace sky::vm
