// SPDX-License-Identifier: MIT
#include <sky/nomad/leases.hpp>

#include <sky/json.hpp>
#include <sky/log.hpp>
#include <sky/nomad/client.hpp>

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace sky {
namespace {

class NomadLeases final : public LeaseStore {
  public:
    NomadLeases(const NomadConfig& config, std::string token, std::chrono::milliseconds patience)
        : client_(config, std::move(token), patience) {}

    std::optional<Read> read(const std::string& host) override {
        const auto variable = client_.variable(lease_variable(host));
        return variable ? std::optional(Read{LeaseRecord::parse(variable->json), variable->index})
                        : std::nullopt;
    }

    std::optional<std::uint64_t> write(const LeaseRecord& lease, std::uint64_t index) override {
        return client_.set_variable(lease_variable(lease.host), lease.dump(), index);
    }

    bool down(const std::string& host) override {
        const Json nodes = client_.get("nodes", {{"filter", fmt::format("Name == \"{}\"", host)}});
        // One that was installed anew has an older self there, too.
        return !nodes.empty() && std::all_of(nodes.begin(), nodes.end(), [](const Json& node) {
            return node.value("Status", "") == "down";
        });
    }

  private:
    nomad::Client client_;
};

} // namespace

std::unique_ptr<LeaseStore> lease_store(const NomadConfig& config, std::string token,
                                        std::chrono::milliseconds patience) {
    return std::make_unique<NomadLeases>(config, std::move(token), patience);
}

Fence plan_fence(const Holder& holder, const std::optional<Lease>& lease) {
    if (!lease) {
        return Fence::kNone;
    }
    if (lease->incarnation != holder.incarnation) {
        return Fence::kOver; // it came back, and proved first that nothing of it lives
    }
    if (lease->revoked) {
        return lease->waited ? Fence::kOver : Fence::kWait;
    }
    if (lease->still) {
        return Fence::kRevoke;
    }
    return lease->claimed ? Fence::kAsked : Fence::kClaim;
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

Lease Sight::judge(const std::string& machine, std::uint64_t generation, bool down,
                   std::chrono::seconds wait, Clock::time_point now) const {
    const std::chrono::seconds length(lease_.lease_s);
    return Lease{.incarnation = lease_.incarnation,
                 .revoked = lease_.revoked,
                 .waited = lease_.revoked && now - revoked_ > length + wait,
                 .still = down || now - since_ > length,
                 .claimed = lease_.claimed(machine, generation)};
}

std::optional<Lease> Leases::of(const Holder& holder) {
    const auto there = store_.read(holder.host);
    if (!there) {
        return std::nullopt;
    }
    Seen& seen = seen_[holder.host];
    seen.sight.saw(there->lease, Sight::Clock::now());
    seen.last = *there;
    const bool down = !there->lease.revoked && store_.down(holder.host);
    return seen.sight.judge(machine_, holder.generation, down, wait_, Sight::Clock::now());
}

Leases::Seen* Leases::seen(const Holder& holder) {
    const auto at = seen_.find(holder.host);
    const bool same = at != seen_.end() && at->second.last.lease.incarnation == holder.incarnation;
    return same ? &at->second : nullptr;
}

void Leases::claim(const Holder& holder) {
    if (const Seen* at = seen(holder)) {
        log::info("asks {} for '{}', generation {}", holder.host, machine_, holder.generation);
        LeaseRecord lease = at->last.lease;
        lease.claims.push_back({.machine = machine_, .generation = holder.generation, .by = by_});
        // Or somebody was faster.
        static_cast<void>(store_.write(lease, at->last.index));
    }
}

void Leases::revoke(const Holder& holder) {
    if (const Seen* at = seen(holder)) {
        log::warn("revokes the lease of {}, serial {}: it is not renewed any more, or nomad holds "
                  "the host down",
                  holder.host, at->last.lease.serial);
        LeaseRecord lease = at->last.lease;
        lease.revoked = true;
        static_cast<void>(store_.write(lease, at->last.index));
    }
}

std::chrono::seconds lease_wait(const VolumesConfig& volumes) {
    std::int64_t most = 0;
    for (const auto& [name, of] : volumes.classes) {
        most = std::max(most, of.wait_s);
    }
    return std::chrono::seconds(most);
}

} // namespace sky
