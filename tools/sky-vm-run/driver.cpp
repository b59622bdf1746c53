// SPDX-License-Identifier: MIT
#include <sky-vm-run/driver.hpp>

#include <sky/error.hpp>
#include <sky/json.hpp>

#include <nlohmann/json.hpp>
#include <utility>

namespace sky::vm {
namespace {

namespace fs = std::filesystem;

/// Files NAME.img in a directory of a filesystem that this host has mounted.
class DirectoryDriver final : public VolumeDriver {
  public:
    explicit DirectoryDriver(fs::path directory) : directory_(std::move(directory)) {}

    [[nodiscard]] std::string blockdev(const Spec::Disk& disk,
                                       const std::string& node) const override {
        const Json cache{{"direct", true}, {"no-flush", false}};
        // The lock is the filesystem's: where it holds across hosts, two never write at once.
        const Json file{{"driver", "file"},        {"filename", inside(disk).string()},
                        {"aio", "threads"},        {"locking", "on"},
                        {"discard", "unmap"},      {"read-only", disk.read_only},
                        {"auto-read-only", false}, {"cache", cache}};
        return dump_json({{"driver", "raw"},
                          {"node-name", node},
                          {"discard", "unmap"},
                          {"read-only", disk.read_only},
                          {"auto-read-only", false},
                          {"cache", cache},
                          {"file", file}});
    }

    [[nodiscard]] View view(const Spec::Disk& disk) const override {
        return {{.kind = Mount::Kind::kBind,
                 .source = directory_ / inside(disk).filename(),
                 .target = inside(disk),
                 .writable = !disk.read_only}};
    }

    [[nodiscard]] bool network() const noexcept override { return false; }

  private:
    static fs::path inside(const Spec::Disk& disk) {
        return fs::path("/sky/volumes") / (disk.name.str() + ".img");
    }

    fs::path directory_;
};

} // namespace

bool by_process(const VolumeClass& of) noexcept {
    switch (of.kind) {
    case VolumeClass::Kind::kLocal:
        return false;
    case VolumeClass::Kind::kLeased:
    case VolumeClass::Kind::kFenced:
        return true;
    }
    return true;
}

std::unique_ptr<VolumeDriver> driver_of(const VolumeClass& of, const fs::path& directory) {
    switch (of.driver) {
    case VolumeClass::Driver::kDirectory:
        return std::make_unique<DirectoryDriver>(directory);
    case VolumeClass::Driver::kCeph:
        break;
    }
    fail(ExitCode::kConfig, "fenced volumes are not to be had yet (use another class)");
}

} // namespace sky::vm
