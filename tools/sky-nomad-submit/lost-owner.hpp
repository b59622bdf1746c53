// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>
#include <sky/name.hpp>
#include <sky/nomad/client.hpp>
#include <sky/nomad/leases.hpp>

#include <memory>
#include <optional>
#include <string>

namespace sky::submit {

/// What is read of an owner record.
struct Owner {
    Holder holder;
    std::string alloc;
    bool leased = false; ///< other hosts can open its volumes
    bool released = false;
    nomad::Variable record = {}; ///< as it was read

    /// Nothing: it was never had. Error(kUnavailable, kData).
    [[nodiscard]] static std::optional<Owner> of(nomad::Client& client, const MachinePath& path);
};

/// One machine whose host is lost and did not release it: takes it away from that host, by the
/// rules of leases (doc/interfaces.md, "Lease"). Refers to `client`.
class LostOwner {
  public:
    LostOwner(nomad::Client& client, const Config& config, const MachinePath& path);

    /// Does the next step about a `leased` owner. True: it can write to its volumes no more, and
    /// the owner record says `released`; else call it again a little later. Error(kUnavailable).
    [[nodiscard]] bool gone(const Owner& owner);

  private:
    nomad::Client& client_;
    MachinePath path_;
    std::unique_ptr<LeaseStore> store_;
    Leases leases_;
};

} // namespace sky::submit
