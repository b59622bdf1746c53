// SPDX-License-Identifier: MIT
#include <sky-vm-run/lease.hpp>

#include <sky/error.hpp>
#include <sky/log.hpp>

#include <algorithm>

namespace sky::vm {
namespace {

/// A lease process that was killed left its deadline, and machines that count on it.
Deadline resume(const std::filesystem::path& file) {
    auto there = Deadline::open(file, true);
    return there ? std::move(*there) : Deadline::make(file, new_incarnation());
}

} // namespace

LeaseHolder::LeaseHolder(LeaseStore& store, std::string host, std::chrono::seconds length,
                         std::filesystem::path file, HoldEffects effects)
    : store_(store), host_(std::move(host)), length_(length), file_(std::move(file)),
      effects_(std::move(effects)), deadline_(resume(file_)) {}

/// Nothing that counts on this incarnation may be let go, or live, when the next one begins.
void LeaseHolder::fall() {
    deadline_.set(std::chrono::nanoseconds::zero());
    effects_.end_all();
    deadline_ = Deadline::make(file_, new_incarnation());
}

bool LeaseHolder::renew() {
    if (!known_) {
        known_ = store_.read(host_);
    }
    const auto there = known_ ? std::optional(known_->lease) : std::nullopt;
    switch (plan_hold(there, deadline_.incarnation())) {
    case Hold::kFall:
        log::warn("{}: ending what has leased volumes, then beginning anew",
                  !there           ? "no lease of this host is known"
                  : there->revoked ? "the lease was revoked"
                                   : "the lease is another incarnation's");
        fall();
        break;
    case Hold::kRenew:
        break;
    }
    LeaseRecord next = renewed(there, host_, deadline_.incarnation(), length_.count());
    std::erase_if(next.claims, effects_.give_up);
    const auto index = known_ ? known_->index : 0;
    known_.reset(); // unless the write says otherwise
    const auto sent = boot_clock();
    const auto written = store_.write(next, index);
    if (!written) {
        return false;
    }
    known_ = {std::move(next), *written};
    deadline_.set(sent + length_);
    return true;
}

} // namespace sky::vm
