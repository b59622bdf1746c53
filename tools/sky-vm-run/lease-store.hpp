// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>
#include <sky/lease.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <string>

namespace sky::vm {

/// Where the hosts' leases stand.
class LeaseStore {
  public:
    LeaseStore() = default;
    LeaseStore(const LeaseStore&) = delete;
    LeaseStore& operator=(const LeaseStore&) = delete;
    virtual ~LeaseStore() = default;

    struct Read {
        LeaseRecord lease;
        std::uint64_t index = 0; ///< what write() compares with
    };
    /// Nothing: the host never held one. Throws Error(kUnavailable) without contact.
    [[nodiscard]] virtual std::optional<Read> read(const std::string& host) = 0;
    /// Compare-and-set on the record of `lease.host`; `index` 0: only if there is none. The new
    /// index, or nothing when somebody else was faster. Throws Error(kUnavailable), and then it may
    /// be done or not.
    [[nodiscard]] virtual std::optional<std::uint64_t> write(const LeaseRecord& lease,
                                                             std::uint64_t index) = 0;
    /// Whether the scheduler holds the host down. Throws as read().
    [[nodiscard]] virtual bool down(const std::string& host) = 0;
};

/// Nomad's variables; it may take `patience` for an answer. Throws Error(kConfig) for a token that
/// can not be read.
[[nodiscard]] std::unique_ptr<LeaseStore> lease_store(const NomadConfig& config,
                                                      std::chrono::milliseconds patience);

} // namespace sky::vm
