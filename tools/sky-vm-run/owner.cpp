// SPDX-License-Identifier: MIT
#include <sky-vm-run/owner.hpp>

#include <sky-vm-run/cut-plan.hpp>

#include <sky/error.hpp>
#include <sky/json.hpp>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

namespace sky::vm {
namespace {

constexpr std::size_t kCap = 1U << 16U; ///< Nomad's own limit for a variable
constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

const Allocation* find(const std::vector<Allocation>& all, const std::string& id) {
    const auto at = std::find_if(all.begin(), all.end(), [&](const auto& a) { return a.id == id; });
    return at == all.end() ? nullptr : &*at;
}

Decision never(std::string why) {
    return {Verdict::kNever, std::move(why)};
}
Decision wait(std::string why) {
    return {Verdict::kWait, std::move(why)};
}

/// What Nomad's allocations alone say against a start; kTake: nothing.
Decision decide_by_allocations(const Question& q) {
    const Allocation* mine = find(q.allocations, q.me.alloc);
    if (mine == nullptr) {
        return wait("nomad does not know this allocation (yet)");
    }
    if (!mine->shall_run) {
        return never("its allocation shall not run any more");
    }
    const auto newer = [&](const auto& a) {
        return a.shall_run && a.create_index > mine->create_index;
    };
    if (std::any_of(q.allocations.begin(), q.allocations.end(), newer)) {
        return never("a newer allocation shall run it");
    }
    if (q.record && q.record->create_index > mine->create_index) {
        return never(fmt::format("a newer allocation, on {}, had it", q.record->host));
    }
    return {Verdict::kTake};
}

/// The record names another host, which has not released it.
Decision decide_elsewhere(const Question& q) {
    const Owner& had = *q.record;
    if (!had.leased) {
        // No other host can open what it writes to: two of it are Nomad's to avoid.
        const Allocation* theirs = find(q.allocations, had.alloc);
        return theirs == nullptr || theirs->ended
                   ? Decision{Verdict::kTake}
                   : wait(fmt::format("waits for {}, where it has not ended", had.host));
    }
    switch (plan_fence(holder_of(had), q.lease)) {
    case Fence::kOver:
        break;
    case Fence::kClaim:
        return {Verdict::kClaim, fmt::format("asks {} to release it", had.host)};
    case Fence::kRevoke:
        return {Verdict::kRevoke, fmt::format("{} is not heard of: revoking its lease", had.host)};
    case Fence::kAsked:
        return wait(fmt::format("waits until {} releases it", had.host));
    case Fence::kWait:
        return wait(fmt::format("waits until {} can not write any more", had.host));
    case Fence::kNone:
        return wait(fmt::format("{} had it and holds no lease", had.host));
    }
    return {Verdict::kTake};
}

} // namespace

Owner Owner::parse(std::string_view json) {
    const Json value = parse_json(json, kCap, "owner record");
    Fields f(value, "");
    static_cast<void>(f.integer("v", 1, 1));
    Owner out{.generation = static_cast<std::uint64_t>(f.integer("generation", 1, kMost)),
              .host = f.string("host"),
              .incarnation = f.string("incarnation"),
              .alloc = f.optional_string("alloc").value_or(""),
              .create_index = static_cast<std::uint64_t>(f.integer("create_index", 0, kMost))};
    f.each("storage", [&](const Json& each, const std::string& at) {
        out.storage.push_back(string_of(each, at));
        if (!is_client_address(out.storage.back())) { // it becomes an argument of ceph's
            fail(ExitCode::kData, "owner record: {}: not ip:port/nonce", at);
        }
    });
    out.leased = f.boolean_or("leased", false);
    out.opened = f.boolean_or("opened", false);
    out.released = f.boolean("released");
    out.at = f.string("at");
    f.done();
    return out;
}

std::string Owner::dump() const {
    return dump_json({{"v", 1},
                      {"generation", generation},
                      {"host", host},
                      {"incarnation", incarnation},
                      {"alloc", alloc.empty() ? Json(nullptr) : Json(alloc)},
                      {"create_index", create_index},
                      {"storage", storage},
                      {"leased", leased},
                      {"opened", opened},
                      {"released", released},
                      {"at", at}});
}

Decision decide(const Question& q) {
    if (!q.me.alloc.empty()) {
        Decision by_nomad = decide_by_allocations(q);
        if (by_nomad.verdict != Verdict::kTake) {
            return by_nomad;
        }
    }
    if (!q.record) {
        return {Verdict::kTake};
    }
    const Owner& had = *q.record;
    const bool mine = had.host == q.me.host && had.alloc == q.me.alloc;
    if (!mine && q.held > 0 && had.generation > q.held) {
        return never(fmt::format("{} took it, generation {}", had.host, had.generation));
    }
    if (had.released) {
        return {Verdict::kTake};
    }
    if (had.host != q.me.host) {
        return decide_elsewhere(q);
    }
    // This host had it. There is one supervisor of a machine on a host, which is the one who asks.
    return {mine && q.living && rightful(q.record, q.me, *q.living) ? Verdict::kKeep
                                                                    : Verdict::kTake};
}

bool rightful(const std::optional<Owner>& record, const Claimant& me, std::uint64_t living) {
    if (!record) {
        return living == 0; // from before there were records
    }
    return record->host == me.host && record->incarnation == me.incarnation && !record->released &&
           record->generation == living;
}

Owner successor(const std::optional<Owner>& record, const Claimant& me, std::uint64_t create_index,
                bool leased) {
    return {.generation = (record ? record->generation : 0) + 1,
            .host = me.host,
            .incarnation = me.incarnation,
            .alloc = me.alloc,
            .create_index = create_index,
            .storage = record ? record->storage : std::vector<std::string>{},
            .leased = leased,
            .at = now_text()};
}

Holder holder_of(const Owner& record) {
    return {
        .host = record.host, .incarnation = record.incarnation, .generation = record.generation};
}

} // namespace sky::vm
