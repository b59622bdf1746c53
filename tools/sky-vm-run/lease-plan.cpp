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

} // namespace sky::vm
