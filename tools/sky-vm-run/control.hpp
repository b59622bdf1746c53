// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/outline.hpp>
#include <sky/privilege.hpp>

#include <optional>
#include <string>

namespace sky::vm {

/// Verb `start`: checks the spec on `in` once more, writes it down as what shall run, makes sure
/// that a supervisor works on it, and prints state lines on `out` until the machine is ready or has
/// failed. The same spec of a machine that lives restarts nothing. Quits when nobody reads `out`
/// any more; the machine goes on. 0, or kSomeFailed. Here and below: with `dry` it checks what it
/// would, and prints what it would do. Throws Error.
int start_verb(const Config& config, int in, int out, const DryRun& dry);

/// Verbs `stop` and `restart`: a request on `in`, state lines on `out` until it is done.
/// "forget" gives the registry entry back once nothing of the machine is left.
int stop_verb(const Config& config, const Caller& caller, int in, int out, const DryRun& dry);
int restart_verb(const Config& config, const Caller& caller, int in, int out, const DryRun& dry);

/// Verb `list`: a state line per machine of the tenant asked for on `in`, or of all. What lives is
/// what /proc says, whatever a file says.
int list_verb(const Config& config, const Caller& caller, int in, int out);

/// Verb `logs`: the console of one machine.
int logs_verb(const Config& config, const Caller& caller, int in, int out);

/// What Nomad gives a task of a machine's job; empty where it was not Nomad that started us.
struct ByNomad {
    std::string alloc;
    std::string spec; ///< one line of JSON
};
/// From this process's environment, where it is still there.
[[nodiscard]] ByNomad by_nomad();

/// Verb `cleanup`: removes what a dead machine left and releases it in the owner record.
/// Error(kBusy) while it lives or is supervised. For Nomad it ends a machine of this allocation
/// that lives on after its supervisor, and leaves another's alone.
int cleanup_verb(const Config& config, const MachinePath& machine, const ByNomad& nomad, int out,
                 const DryRun& dry);

/// Verb `run`: the supervisor, in the foreground.
int run_verb(const Config& config, const MachinePath& machine, const ByNomad& nomad, int out,
             const DryRun& dry);

} // namespace sky::vm
