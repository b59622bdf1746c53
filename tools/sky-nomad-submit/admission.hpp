// SPDX-License-Identifier: MIT
#pragma once

#include "sky-nomad-submit/machine-record.hpp"
#include "sky-nomad-submit/manifest.hpp"
#include "sky-nomad-submit/scheduler.hpp"

#include <sky/config.hpp>
#include <sky/error.hpp>
#include <sky/record.hpp>
#include <sky/registry.hpp>
#include <sky/spec.hpp>

namespace sky::submit {

/// What the tenant's other machines hold: everybody but `except`. vcpu and memory of those that run
/// or should; disk of all, and of the volumes that deleted machines left.
[[nodiscard]] Amount usage_of(const Tenant& tenant, const MachinePath& except,
                              const Records::All& records, const Registry& registry);

/// Everything that admission looks at; pure data.
struct Request {
    const Config& config;             ///< policy
    const Record& record;             ///< what was built
    const Manifest& manifest;         ///< what it asks for
    const Registry::Machine& machine; ///< what it was given
    Amount used;                      ///< by the tenant's other machines
};

struct Admitted {
    Spec spec;
    Amount granted;
    Placing placing = {};
    std::vector<MachinePath> asked_apart = {}; ///< what of placing.apart it asked for itself
};

/// Built for another identity than the machine has: a build that asks for it anew helps.
struct AnotherIdentity : Error {
    using Error::Error;
};

/// Grants what the manifest asks for, or throws AnotherIdentity, or Error(kRefused) with a
/// sentence: what was asked, used and allowed. The sentence names keys and numbers, never text of
/// the tenant's beyond checked names.
[[nodiscard]] Admitted admit(const Request& request);

} // namespace sky::submit
