// SPDX-License-Identifier: MIT
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace sky::vm {

/// Who holds an image's lock.
struct Locker {
    std::string id;      ///< the lock's, "auto 94513"
    std::string client;  ///< "client.4123"
    std::string address; ///< ip:port/nonce
    bool operator==(const Locker&) const = default;
};

/// Who is seen at one image.
struct ImageUse {
    std::string image;
    std::vector<std::string> watchers; ///< ip:port/nonce
    std::vector<Locker> lockers;
    bool operator==(const ImageUse&) const = default;
};

/// One client that is to be blocklisted, and on what evidence.
struct Cut {
    std::string address;
    std::string evidence; ///< "it watches alice.infra.www.root", for the log
    bool operator==(const Cut&) const = default;
};

/// What to do next until nobody is left who can write.
struct CutStep {
    std::vector<Cut> cut; ///< first these
    bool wait = false;    ///< who is cut off still watches: the storage drops it
    /// Nobody is left.
    [[nodiscard]] bool done() const { return cut.empty() && !wait; }
};

/// `recorded`: clients of the owner record, which `host` had; `cut_off`: whom we have blocklisted
/// so far. Locks of who is cut off may be broken once nobody is left, and not before. Pure.
[[nodiscard]] CutStep plan_cut(const std::vector<std::string>& recorded, std::string_view host,
                               const std::vector<ImageUse>& seen,
                               const std::set<std::string>& cut_off);

/// Whether it names one client, as the blocklist takes it: ip:port/nonce, never a bare ip.
[[nodiscard]] bool is_client_address(std::string_view text);

} // namespace sky::vm
