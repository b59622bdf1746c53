// SPDX-License-Identifier: MIT
#pragma once

#include <sky/json.hpp>
#include <sky/name.hpp>
#include <sky/store-path.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sky {

/// What `sky-vm-run start` reads, and what is kept as vm/T.R.M/spec.json: names that we gave,
/// numbers, store paths. Field for field the object of doc/interfaces.md, "Spec".
struct Spec {
    enum class Store { kVirtiofs, kDisk };
    enum class OnPoweroff { kRestart, kStay };

    struct Interface {
        std::string tap; ///< sky0, sky1 ... inside the sandbox, in this order
        std::string mac; ///< lower case; the registry's
        Network network;
        std::uint32_t queues = 1;
        bool operator==(const Interface&) const = default;
    };
    struct Disk {
        Volume name;
        std::string storage_class; ///< "class" in JSON; one of the configuration's
        std::uint64_t size_mib = 0;
        bool read_only = false;
        bool operator==(const Disk&) const = default;
    };
    struct Ready {
        enum class Type {
            kNone,  ///< once its hypervisor runs
            kTcp,   ///< once `port` accepts connections
            kNotify ///< once it has said so on its console (sky-vm-run, kNotification)
        };
        Type type = Type::kNone;
        std::uint16_t port = 0; ///< for kTcp
        bool operator==(const Ready&) const = default;
    };

    MachinePath path;
    Revision rev;
    StorePath deployment;
    std::string nar_hash; ///< of the deployment, "sha256:..."
    StorePath runner;
    std::string hypervisor; ///< one of the configuration's
    Store store = Store::kVirtiofs;
    std::uint32_t vcpu = 1;
    std::uint64_t mem_mib = 0;
    std::string machine_id; ///< 8-4-4-4-12 hex digits
    std::vector<Interface> interfaces;
    std::vector<Disk> volumes;
    Ready ready;
    OnPoweroff on_poweroff = OnPoweroff::kRestart;
    std::uint32_t ready_s = 90;
    std::uint32_t stop_s = 30;

    bool operator==(const Spec&) const = default;

    /// Strict: unknown key, wrong type, out of range, duplicate name or key is Error(kData) naming
    /// the key.
    [[nodiscard]] static Spec parse(std::string_view json);
    /// One line of JSON with sorted keys; parse(dump()) is the same spec.
    [[nodiscard]] std::string dump() const;
    /// SHA-256 (64 hex digits) of the dump without `rev`: the same hash restarts nothing.
    [[nodiscard]] std::string hash() const;
};

/// The largest spec, manifest or request that is read.
inline constexpr std::size_t kSpecBytesMax = 1U << 20U;
inline constexpr std::size_t kInterfacesMax = 4;
inline constexpr std::size_t kVolumesMax = 16;

// Readers of single members that the manifest shares with the spec. All throw Error(kData) naming
// the key, never the value.
[[nodiscard]] Spec::Ready parse_ready(Fields& fields, const char* key);
[[nodiscard]] Spec::Store parse_store(Fields& fields, const char* key);
[[nodiscard]] Spec::OnPoweroff parse_on_poweroff(Fields& fields, const char* key);
[[nodiscard]] StorePath parse_store_path(Fields& fields, const char* key);
[[nodiscard]] std::string parse_mac(Fields& fields, const char* key);
[[nodiscard]] std::string parse_machine_id(Fields& fields, const char* key);
/// A name of kind N: parse_name<Volume>(fields, "name").
template <typename N>
[[nodiscard]] N parse_name(Fields& fields, const char* key) {
    const std::string text = fields.string(key);
    if (!N::valid(text)) {
        fields.wrong(key, "a valid name");
    }
    return N::parse(text);
}

/// 8-4-4-4-12 lower-case hex digits.
[[nodiscard]] bool valid_machine_id(std::string_view text) noexcept;
/// Six pairs of lower-case hex digits with colons.
[[nodiscard]] bool valid_mac(std::string_view text) noexcept;

} // namespace sky
