// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>
#include <sky/privilege.hpp>

namespace sky::vm {

/// The verb `register`: one request `{"v":1,"tenant","repo","machines":[...],"max"?}` on `in`, one
/// line per machine on `out`: the registry's entry plus "machine" and "macs", or "machine" and
/// "error". Runs as root; the registry's lock is held neither while reading nor while writing.
/// With `dry_run` it answers what it would answer, and gives nothing out. 0, or kSomeFailed when a
/// machine was refused. Throws Error.
int register_verb(const Config& config, const Caller& caller, int in, int out, bool dry_run);

/// The verb `registry`: the whole as it stands in registry.json. Throws as load_registry().
int registry_verb(const Config& config, int out);

} // namespace sky::vm
