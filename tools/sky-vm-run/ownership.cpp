// SPDX-License-Identifier: MIT
#include <sky-vm-run/ownership.hpp>

#include <sky/error.hpp>
#include <sky/json.hpp>

namespace sky::vm {

Ownership::Answer Ownership::ask(const std::optional<std::uint64_t>& living) {
    if (needs_.own) {
        const auto incarnation = held_lease(*needs_.own);
        if (!incarnation) {
            return {.why = "this host holds no lease (does sky-vm-run lease run?)"};
        }
        me_.incarnation = *incarnation;
    }
    const auto there = store_.read();
    const auto record = there ? std::optional(there->owner) : std::nullopt;
    if (living && !rightful(record, me_, *living)) {
        return {.stranger = true};
    }
    Question question{.me = me_,
                      .record = record,
                      .held = held_,
                      .living = living,
                      .allocations = store_.allocations(),
                      .lease = {}};
    const bool elsewhere = record && !record->released && record->host != me_.host;
    if (elsewhere && record->leased && needs_.others != nullptr) {
        question.lease = needs_.others->of(holder_of(*record));
    }
    const Decision decision = decide(question);
    switch (decision.verdict) {
    case Verdict::kKeep:
        held_ = record->generation;
        return {.verdict = Verdict::kKeep};
    case Verdict::kTake:
        return take(question, there ? there->index : 0);
    case Verdict::kClaim:
        needs_.others->claim(holder_of(*record));
        return {.why = decision.why};
    case Verdict::kRevoke:
        needs_.others->revoke(holder_of(*record));
        return {.why = decision.why};
    case Verdict::kWait:
    case Verdict::kNever:
        break;
    }
    return {.verdict = decision.verdict, .why = decision.why};
}

Ownership::Answer Ownership::take(const Question& question, std::uint64_t index) {
    std::uint64_t create_index = 0;
    for (const auto& allocation : question.allocations) {
        create_index = allocation.id == me_.alloc ? allocation.create_index : create_index;
    }
    const Owner next = successor(question.record, me_, create_index, needs_.own.has_value());
    if (!store_.write(next, index)) {
        return {.why = "somebody else asked for it at the same time"};
    }
    held_ = next.generation;
    // On this host the supervisor's lock is held and nothing lives; a release said as much.
    const auto& had = question.record;
    former_ = had ? Former{.host = had->host,
                           .clients = had->storage,
                           .ended = had->released || had->host == me_.host}
                  : Former{};
    return {.verdict = Verdict::kTake};
}

bool Ownership::hold() {
    const auto incarnation = needs_.own ? held_lease(*needs_.own) : std::nullopt;
    if (!incarnation) {
        fail(ExitCode::kUnavailable, "this host holds no lease (does sky-vm-run lease run?)");
    }
    me_.incarnation = *incarnation;
    const auto there = store_.read();
    const auto record = there ? std::optional(there->owner) : std::nullopt;
    if (record && !record->released && record->host != me_.host) {
        return false;
    }
    const Owner next = successor(record, me_, record ? record->create_index : 0, true);
    if (!store_.write(next, there ? there->index : 0)) {
        return false;
    }
    held_ = next.generation;
    return true;
}

void Ownership::confirm(const std::optional<std::vector<std::string>>& clients) {
    if (!needs_.own && !clients) {
        return;
    }
    const auto there = store_.read();
    if (!there || there->owner.generation != held_ || there->owner.host != me_.host ||
        there->owner.alloc != me_.alloc || there->owner.released) {
        fail(ExitCode::kBusy, "the machine was given to another meanwhile");
    }
    Owner owner = there->owner;
    owner.opened = needs_.own.has_value();
    owner.storage = clients.value_or(std::vector<std::string>{});
    owner.at = now_text();
    if (!store_.write(owner, there->index)) {
        fail(ExitCode::kBusy, "somebody else changed the owner record meanwhile");
    }
    if (needs_.own && held_lease(*needs_.own) != me_.incarnation) {
        fail(ExitCode::kUnavailable, "this host has lost its lease meanwhile");
    }
}

bool Ownership::release() {
    for (;;) {
        const auto there = store_.read();
        if (!there || there->owner.host != me_.host) {
            return false;
        }
        Owner owner = there->owner;
        if (owner.released) {
            return true;
        }
        owner.released = true;
        owner.at = now_text();
        if (store_.write(owner, there->index)) {
            return true;
        }
    }
}

Claimant claimant(const Config& config, const std::string& alloc) {
    return {.host = config.host, .incarnation = boot_id(), .alloc = alloc};
}

} // namespace sky::vm
