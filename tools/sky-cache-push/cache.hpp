// SPDX-License-Identifier: MIT
#pragma once

#include <sky/fd.hpp>
#include <sky/lock.hpp>
#include <sky/nar.hpp>
#include <sky/narinfo.hpp>
#include <sky/signature.hpp>
#include <sky/state.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <string>

namespace sky::cache {

/// A compressed NAR in a file of our own that has no name in the cache yet.
struct Staged {
    NarInfo info;
    std::filesystem::path file;
};

/// A directory of one push's own, cache/T/tmp/RANDOM, removed with all that is in it when this
/// goes. An flock on it says that the push lives; what dead ones left is removed by whoever comes
/// next. Make it under the cache's lock.
class Staging {
  public:
    explicit Staging(const std::filesystem::path& parent);
    Staging(const Staging&) = delete;
    Staging& operator=(const Staging&) = delete;
    ~Staging();
    [[nodiscard]] const std::filesystem::path& directory() const noexcept { return directory_; }
    /// Removes what dead pushes left. Under the cache's lock.
    static void sweep(const std::filesystem::path& parent);

  private:
    std::filesystem::path directory_;
    Fd lock_;
};

/// A tenant's binary cache, STATE/cache/T: a directory of the service account's own. nix reads it
/// as file://.
class Cache {
  public:
    Cache(const State& state, const Tenant& tenant);

    /// Makes what is missing of the directory. find() and touch() work without it.
    void prepare() const;

    /// The lock for changes. Held for local work only, never while a tenant's descriptor is read or
    /// written.
    [[nodiscard]] Lock lock() const;
    /// The narinfo of `path`, if it is there, signed by the tenant's key, with a NAR of the right
    /// size. What is damaged or can not be read is told once and counts as missing: the next push
    /// replaces it.
    [[nodiscard]] std::optional<NarInfo> find(const StorePath& path) const;
    /// Hashes the NAR: false, and told, if it is not what its narinfo says.
    [[nodiscard]] bool sound(const NarInfo& info) const;
    /// True if `path` is here and its NAR is damaged; its narinfo is taken out then.
    [[nodiscard]] bool drop_damaged(const StorePath& path) const;
    /// Keeps the garbage collector from taking `path` for its grace time.
    void touch(const StorePath& path) const;
    /// The NAR as it was before compression. The cache keeps nothing open.
    [[nodiscard]] Source open_nar(const NarInfo& info) const;

    /// Compresses one NAR from `source` into a file of our own while it checks it: well-formed,
    /// NarHash and NarSize as `declared` says. More than `budget` bytes: Error(kRefused). Throws
    /// Error(kData).
    [[nodiscard]] static Staged stage(const Staging& staging, const NarInfo& declared,
                                      const Source& source, std::uint64_t budget);
    /// Gives the NAR its name.
    void publish_nar(const Staged& staged) const;
    /// Signs the narinfo, into the staging directory.
    static void sign_info(const Staged& staged, const SigningKey& key);
    /// Gives the signed narinfo its name; both it and its NAR, published, must be synced.
    void publish_info(const Staged& staged) const;
    /// Everything written so far survives a power cut.
    void sync() const;

    [[nodiscard]] const std::filesystem::path& directory() const noexcept { return directory_; }
    [[nodiscard]] std::filesystem::path staging() const { return directory_ / "tmp"; }
    [[nodiscard]] std::filesystem::path info_file(const StorePath& path) const {
        return directory_ / (path.hash() + ".narinfo");
    }

  private:
    [[nodiscard]] NarInfo checked(NarInfo info, const StorePath& path) const;

    std::filesystem::path directory_;
    std::filesystem::path public_key_;
    mutable std::optional<std::string> key_text_; ///< of the public key, once it was needed
    mutable std::set<std::filesystem::path> told_;
};

/// The tenant's signing key, made at first use (call it under the cache's lock). Throws
/// Error(kConfig) for a damaged one.
[[nodiscard]] SigningKey load_key(const State& state, const Tenant& tenant);

/// Bytes of all files below a directory; 0 if there is none.
[[nodiscard]] std::uint64_t bytes_below(const std::filesystem::path& directory);

/// mkdir -p, mode 0750 under our umask; a set-group-id parent hands its group on.
void make_own_directories(const std::filesystem::path& path);

} // namespace sky::cache
