// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/vm.hpp>

#include <chrono>
#include <string>
#include <string_view>

namespace sky::vm {

/// What a hypervisor's monitor is asked. Its answers are a tenant's: short hints, never facts.
enum class QmpAsk { kStatus, kPowerdown, kContinue };

/// Verb `qmp` (hidden, root): enters the mount namespace of the machine's guard, becomes the
/// machine's uid for good, speaks QMP at /sky/run/qmp.sock, prints one word: the status of the
/// guest ("running") or "ok". Throws Error.
[[noreturn]] void qmp_verb(const Config& config, const MachinePath& machine, std::string_view ask);

constexpr std::chrono::milliseconds kQmpLimit{6000};

/// Runs that verb as a child that is ended after `limit`. The word, or empty when nobody answered
/// sensibly.
[[nodiscard]] std::string qmp_ask(const Vm& vm, QmpAsk ask,
                                  std::chrono::milliseconds limit = kQmpLimit) noexcept;

/// The lower-case word in the reply `{"return": {"status": "running"}}`, "ok" for any other
/// return; empty for what is no such reply (events, the greeting, errors, rubbish). Pure.
[[nodiscard]] std::string qmp_word(std::string_view line);

} // namespace sky::vm
