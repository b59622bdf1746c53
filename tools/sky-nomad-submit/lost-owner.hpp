// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>
#include <sky/name.hpp>
#include <sky/nomad/client.hpp>
#include <sky/nomad/leases.hpp>

#include <memory>
#include <string>

namespace sky::submit {

/// The owner of a machine that shall end, whose host may be lost: as a supervisor elsewhere would,
/// it asks that host for the machine, takes its lease away if it is heard of no more, and waits.
/// Refers to client and configuration.
class LostOwner {
  public:
    /// `token`: the deploy account's.
    LostOwner(nomad::Client& client, const Config& config, const std::string& token,
              const MachinePath& path);

    /// One look, and the next step. True once nothing of the machine lives that could write to its
    /// volumes: its owner record says `released`, and if that host could not, this writes it. Call
    /// it about every second. Throws Error.
    [[nodiscard]] bool gone();

  private:
    nomad::Client& client_;
    std::string variable_;
    std::unique_ptr<LeaseStore> store_;
    Leases leases_;
};

} // namespace sky::submit
