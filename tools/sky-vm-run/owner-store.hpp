// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/owner.hpp>
#include <sky/config.hpp>
#include <sky/name.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

namespace sky::vm {

/// Where the owner record of one machine stands.
class OwnerStore {
  public:
    OwnerStore() = default;
    OwnerStore(const OwnerStore&) = delete;
    OwnerStore& operator=(const OwnerStore&) = delete;
    virtual ~OwnerStore() = default;

    struct Read {
        Owner owner;
        std::uint64_t index = 0; ///< what write() compares with
    };
    /// Nothing: nobody ever had the machine. Throws Error(kUnavailable) without contact.
    [[nodiscard]] virtual std::optional<Read> read() = 0;
    /// Compare-and-set; `index` 0: only if there is none. False: somebody else was faster.
    /// Throws Error(kUnavailable), and then it may be done or not.
    [[nodiscard]] virtual bool write(const Owner& owner, std::uint64_t index) = 0;
    /// The allocations of the machine's job; none on a single host.
    [[nodiscard]] virtual std::vector<Allocation> allocations() = 0;
};

/// A file of root's (`file`) on a single host, a variable in a cluster, whose Nomad may take
/// `patience` for an answer. Throws Error(kConfig) for a token that can not be read.
[[nodiscard]] std::unique_ptr<OwnerStore> owner_store(const Config& config,
                                                      const MachinePath& machine,
                                                      const std::filesystem::path& file,
                                                      std::chrono::milliseconds patience);

} // namespace sky::vm
