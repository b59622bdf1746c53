// SPDX-License-Identifier: MIT
#pragma once

#include "sky-nomad-submit/deployer.hpp"

#include <functional>

namespace sky::submit {

/// What deployer.cpp and bring-up.cpp share, for them alone.
struct Deployer::Job {
    const MachinePath& path;
    const std::optional<BuildId>& session;
    MachineRecord record;
};

inline constexpr const char* kSameSystem = "same system as before, not restarted";

/// A call that could not be made, or was not answered, is an outcome like others.
[[nodiscard]] Outcome ask(const std::function<Outcome()>& call);

} // namespace sky::submit
