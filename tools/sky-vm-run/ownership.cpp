// SPDX-License-Identifier: MIT
#include <sky-vm-run/ownership.hpp>

#include <sky/fd.hpp>
#include <sky/json.hpp>

#include <algorithm>

namespace sky::vm {

Ownership::Answer Ownership::ask(const std::optional<std::uint64_t>& living) {
    const auto there = store_.read();
    const auto record = there ? std::optional(there->owner) : std::nullopt;
    if (living && !rightful(record, me_, *living)) {
        return {.stranger = true};
    }
    const Question question{.me = me_,
                            .record = record,
                            .held = held_,
                            .living = living,
                            .allocations = store_.allocations(),
                            .leased = leased_,
                            .lease = {}};
    const Decision decision = decide(question);
    if (decision.verdict == Verdict::kKeep) {
        held_ = record->generation;
    }
    if (decision.verdict != Verdict::kTake) {
        return {.verdict = decision.verdict, .why = decision.why};
    }
    std::uint64_t create_index = 0;
    for (const auto& allocation : question.allocations) {
        create_index = allocation.id == me_.alloc ? allocation.create_index : create_index;
    }
    const Owner next = successor(record, me_, create_index);
    if (!store_.write(next, there ? there->index : 0)) {
        return {.why = "somebody else asked for it at the same time"};
    }
    held_ = next.generation;
    return {.verdict = Verdict::kTake};
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
    std::string boot = read_file("/proc/sys/kernel/random/boot_id", 64);
    boot.erase(
        std::remove_if(boot.begin(), boot.end(), [](char c) { return c == '-' || c == '\n'; }),
        boot.end());
    return {.host = config.host, .incarnation = boot, .alloc = alloc};
}

} // namespace sky::vm
