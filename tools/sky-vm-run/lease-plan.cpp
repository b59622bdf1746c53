// SPDX-License-Identifier: MIT
#include <sky-vm-run/lease-plan.hpp>

#include <sky/json.hpp>

namespace sky::vm {

Hold plan_hold(const std::optional<LeaseRecord>& there, const std::string& incarnation) {
    return there && !there->revoked && there->incarnation == incarnation ? Hold::kRenew
                                                                         : Hold::kFall;
}

LeaseRecord renewed(const std::optional<LeaseRecord>& there, const std::string& host,
                    const std::string& incarnation, std::int64_t lease_s) {
    LeaseRecord out{.host = host,
                    .incarnation = incarnation,
                    .serial = there ? there->serial + 1 : 1,
                    .lease_s = lease_s,
                    .at = now_text()};
    if (there && there->incarnation == incarnation) {
        out.claims = there->claims;
    }
    return out;
}

void Sight::saw(const LeaseRecord& lease, Clock::time_point now) {
    const bool first = since_ == Clock::time_point{};
    const bool same = !first && lease.incarnation == lease_.incarnation;
    if (!same || lease.serial != lease_.serial) {
        since_ = now;
    }
    if (lease.revoked && (!same || !lease_.revoked)) {
        revoked_ = now;
    }
    lease_ = lease;
}

Lease Sight::judge(const std::string& machine, const Owner& record, bool down,
                   std::chrono::seconds wait, Clock::time_point now) const {
    const std::chrono::seconds length(lease_.lease_s);
    return Lease{.incarnation = lease_.incarnation,
                 .revoked = lease_.revoked,
                 .waited = lease_.revoked && now - revoked_ > length + wait,
                 .still = down || now - since_ > length,
                 .claimed = lease_.claimed(machine, record.generation)};
}

} // namespace sky::vm
