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
        if (f.refused) {
            return Step::kLeave;
        }
        if (!f.owned) {
            return f.backoff > milliseconds::zero() ? Step::kWatch : Step::kOwn;
        }
        if (f.current || f.hopeless) {
            return Step::kWatch;
        }
        if (f.prepared) {
            return Step::kStop;
        }
        return f.backoff > milliseconds::zero() ? Step::kWatch : Step::kPrepare;
    }
    if (f.terminating || !f.want_running || f.hopeless || f.refused || (f.rests && !f.stays)) {
        return Step::kLeave;
    }
    if (f.rests) {
        return Step::kRest;
    }
    if (f.backoff > milliseconds::zero()) {
        return Step::kWait;
    }
    return f.owned ? Step::kBoot : Step::kOwn;
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
