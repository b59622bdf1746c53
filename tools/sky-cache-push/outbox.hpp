// SPDX-License-Identifier: MIT
#pragma once

#include <sky/fd.hpp>
#include <sky/narinfo.hpp>
#include <sky/state.hpp>

#include <optional>
#include <string>
#include <sys/types.h>

namespace sky::cache {

/// What a build left for us: tenants/T/outbox/BUILD. The tenant can change all of it at any time,
/// so each file is opened once, beneath the outbox and through no link, and what counts is what was
/// read.
class Outbox {
  public:
    /// A build without a directory has an empty outbox. `owner`: the tenant's uid; files of others
    /// are refused.
    Outbox(const State& state, const Tenant& tenant, const BuildId& build, uid_t owner);

    /// The narinfo of `path`, if there is one. Throws Error(kData).
    [[nodiscard]] std::optional<NarInfo> find(const StorePath& path) const;
    /// Its NAR. Throws Error(kData).
    [[nodiscard]] Fd open_nar(const NarInfo& info) const;

  private:
    [[nodiscard]] std::optional<Fd> open(const std::string& name) const;

    std::optional<Fd> directory_;
    uid_t owner_;
};

} // namespace sky::cache
