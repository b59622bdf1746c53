// SPDX-License-Identifier: MIT
#include <sky-vm-run/leases.hpp>

#include <sky/log.hpp>

namespace sky::vm {

std::optional<std::string> Leases::mine() const {
    const auto deadline = Deadline::open(own_);
    return deadline && !deadline->past() ? std::optional(deadline->incarnation()) : std::nullopt;
}

std::optional<Lease> Leases::of(const Owner& record) {
    const auto there = store_.read(record.host);
    if (!there) {
        return std::nullopt;
    }
    Seen& seen = seen_[record.host];
    seen.sight.saw(there->lease, Sight::Clock::now());
    seen.last = *there;
    const bool down = !there->lease.revoked && store_.down(record.host);
    return seen.sight.judge(machine_, record, down, wait_, Sight::Clock::now());
}

Leases::Seen* Leases::seen(const Owner& record) {
    const auto at = seen_.find(record.host);
    const bool same = at != seen_.end() && at->second.last.lease.incarnation == record.incarnation;
    return same ? &at->second : nullptr;
}

void Leases::claim(const Owner& record) {
    if (Seen* at = seen(record)) {
        log::info("asks {} for it", record.host);
        LeaseRecord lease = at->last.lease;
        lease.claims.push_back({.machine = machine_, .generation = record.generation, .by = host_});
        // Or somebody was faster.
        static_cast<void>(store_.write(lease, at->last.index));
    }
}

void Leases::revoke(const Owner& record) {
    if (Seen* at = seen(record)) {
        log::warn("revokes the lease of {}, serial {}: it is not renewed any more, or nomad holds "
                  "the host down",
                  record.host, at->last.lease.serial);
        LeaseRecord lease = at->last.lease;
        lease.revoked = true;
        static_cast<void>(store_.write(lease, at->last.index));
    }
}

} // namespace sky::vm
