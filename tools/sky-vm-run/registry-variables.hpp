// SPDX-License-Identifier: MIT
#pragma once

#include <sky/registry.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sky::vm {

/// What a registry needs of Nomad's variables. Each call may throw Error(kUnavailable).
class Variables {
  public:
    Variables() = default;
    Variables(const Variables&) = delete;
    Variables& operator=(const Variables&) = delete;
    virtual ~Variables() = default;

    struct Read {
        std::string text;
        std::uint64_t index = 0; ///< what write() compares with
    };
    [[nodiscard]] virtual std::optional<Read> read(const std::string& path) = 0;
    /// Compare-and-set; `index` 0: only if there is none. False: another was there. Throws
    /// Error(kUnavailable), and then it may be done or not.
    [[nodiscard]] virtual bool write(const std::string& path, const std::string& text,
                                     std::uint64_t index) = 0;
    virtual void remove(const std::string& path) = 0;
    /// Paths below `prefix`.
    [[nodiscard]] virtual std::vector<std::string> list(const std::string& prefix) = 0;
};

/// The one variable by which a change is or is not: the registry itself, or when that is too large
/// which part of each tenant counts.
struct RegistryHead {
    struct Part {
        Registry::Commit commit; ///< the change that wrote it
        std::uint32_t pieces = 1;
        bool operator==(const Part&) const = default;
    };
    Registry::Commit commit;
    std::uint32_t next_index = 1;
    std::optional<Registry> whole{};   ///< without commit and next_index
    std::map<std::string, Part> parts; ///< by tenant; none beside the whole
    bool operator==(const RegistryHead&) const = default;

    /// Error(kData).
    [[nodiscard]] static RegistryHead parse(std::string_view json);
    [[nodiscard]] std::string dump() const;
};

/// A variable holds 64 KiB (Nomad 1.4 and up), keys of it among them.
inline constexpr std::size_t kRegistryPieceBytes = 60'000;

/// The registry of a cluster in Nomad's variables: a head, and once it does not fit in there, parts
/// that never change, one or more of each tenant, of which the head says which count. With the
/// head all of a change counts, or nothing.
class RegistryVariables {
  public:
    explicit RegistryVariables(Variables& variables) : variables_(variables) {}

    struct Head {
        RegistryHead head;
        std::uint64_t index = 0;
    };
    /// Nothing: there is no registry yet. Throws Error(kUnavailable), Error(kData).
    [[nodiscard]] std::optional<Head> head();
    /// The whole that `head` names, or a later one. Throws as head().
    [[nodiscard]] Registry registry(Head head);
    /// Makes `next` the registry after `was`, which is what `before` names, or newer (then all is
    /// written). Sets `next.commit`. Error(kBusy): another change came in between, this one
    /// counts for nothing. Error(kRefused): too large for the variables. Error(kUnavailable): it
    /// may be done or not.
    void commit(const std::optional<Head>& before, const Registry& was, Registry& next);
    /// Removes parts that count no more: older changes', and those of writers that died. A part
    /// that is not younger than the head is nobody's who may still make it count.
    void sweep(const RegistryHead& head);

  private:
    Variables& variables_;
};

} // namespace sky::vm
