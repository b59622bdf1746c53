// SPDX-License-Identifier: MIT
#pragma once

#include <sky-vm-run/view.hpp>
#include <sky/config.hpp>
#include <sky/name.hpp>
#include <sky/spec.hpp>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace sky::vm {

/// A file of root's of which the storage process is given a copy that it alone can read, as
/// /sky/etc/NAME: a key, say.
struct StorageFile {
    std::string name;
    std::filesystem::path source;
    std::string more = {}; ///< is appended
    bool operator==(const StorageFile&) const = default;
};

/// Who had a machine's volumes open before, as its owner record says.
struct Former {
    std::string host = {}; ///< empty: nobody
    std::vector<std::string> clients = {};
    bool ended = false; ///< it is known that its processes have ended
};

/// The volumes of one machine in one storage class: one driver per kind of storage, chosen by the
/// class. It says what a storage process needs to open them; storage.hpp starts that one.
class VolumeDriver {
  public:
    virtual ~VolumeDriver() = default;

    /// A block node of qemu-storage-daemon named `node` (QAPI BlockdevOptions, as JSON) for this
    /// volume, as the process's own view shows it. Always raw, never probed, past the page cache:
    /// no write is on its way in this host once the process has ended. Only where the hypervisor
    /// passes its guest's flushes on may a write be answered before the storage has it. Pure.
    [[nodiscard]] virtual std::string blockdev(const Spec::Disk& disk, const std::string& node,
                                               bool flushes) const = 0;
    /// What the process's view holds for it. Pure.
    [[nodiscard]] virtual View view(const Spec::Disk& disk) const = 0;
    /// Pure.
    [[nodiscard]] virtual std::vector<StorageFile> files() const = 0;
    /// Whether the storage is reached over the host's network.
    [[nodiscard]] virtual bool network() const noexcept = 0;

    // What is below asks the storage, or changes it, and throws Error: kUnavailable where it is
    // away, or is not the one that the configuration means.

    /// That volumes can be opened here, and made: `make_mib` in all.
    virtual void check(std::uint64_t make_mib) const = 0;
    /// In bytes; nothing: it is not there, for sure.
    [[nodiscard]] virtual std::optional<std::uint64_t> size(const Volume& name) const = 0;
    /// With an empty ext4; whole or not at all.
    virtual void make(const Volume& name, std::uint64_t mib) const = 0;
    virtual void grow(const Volume& name, std::uint64_t mib) const = 0;
    /// Cuts off all who can still write to these volumes, which are there; says whom, on what
    /// evidence. Nothing of the machine lives here.
    virtual void fence(const std::vector<Volume>& names, const Former& former) const = 0;
    /// To who opens it: a uid of this host.
    virtual void hand_over(const Volume& name, uid_t opener) const = 0;
    /// Who has these volumes open to write to, as owner records keep it; Error unless that is the
    /// storage process here.
    [[nodiscard]] virtual std::vector<std::string>
    clients(const std::vector<Volume>& names) const = 0;
    /// Writes back what this host's memory still has of the machine's volumes.
    virtual void settle() const = 0;
    /// No uid but root has them any more.
    virtual void take_back() const = 0;
    /// What the volume holds now, under a name; one that is there is not replaced: Error(kRefused).
    /// Here and below: nobody has it open.
    virtual void snapshot(const Volume& name, const Volume& as) const = 0;
    /// The volume as it was then; Error(kRefused) for a snapshot that is not there.
    virtual void restore(const Volume& name, const Volume& from) const = 0;
    /// All its bytes.
    virtual void export_to(const Volume& name, int out) const = 0;
    /// All its bytes anew, from a stream, whole or not at all; how many it has. Its snapshots go.
    virtual std::uint64_t import_from(const Volume& name, int in) const = 0;
    /// With its snapshots. Nothing if it is not there.
    virtual void remove(const Volume& name) const = 0;

  protected:
    VolumeDriver() = default;
    VolumeDriver(const VolumeDriver&) = default;
    VolumeDriver& operator=(const VolumeDriver&) = default;
};

/// Whether volumes of the class are opened by a storage process; others are the hypervisor's own
/// files.
[[nodiscard]] bool by_process(const VolumeClass& of) noexcept;

/// The driver of the machine's volumes in a class of the configuration, both of which must outlive
/// it. Pure.
[[nodiscard]] std::unique_ptr<VolumeDriver>
driver_of(const Config& config, const std::string& storage_class, const MachinePath& machine);

/// Makes `file`, which must not be there, with an empty ext4 labelled with the volume's name.
/// Throws Error, and leaves nothing then.
void make_image(const Config& config, const std::filesystem::path& file, const Volume& name,
                std::uint64_t mib);

} // namespace sky::vm
