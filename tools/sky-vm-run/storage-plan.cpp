// SPDX-License-Identifier: MIT
#include <sky-vm-run/storage-plan.hpp>

#include <sky-vm-run/driver.hpp>

#include <sky/json.hpp>

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <set>

namespace sky::vm {
namespace {

namespace fs = std::filesystem;

Mount bind_to(fs::path source, fs::path target) {
    return {.kind = Mount::Kind::kBind, .source = std::move(source), .target = std::move(target)};
}

constexpr const char* kCopies = "/sky/etc";

/// As microvm.nix starts them: firecracker's guests see no cache and never flush. Of what is not
/// known here as much is said.
bool passes_flushes(std::string_view hypervisor) {
    constexpr std::array kKnown{"qemu", "cloud-hypervisor", "crosvm", "stratovirt", "kvmtool"};
    return std::find(kKnown.begin(), kKnown.end(), hypervisor) != kKnown.end();
}

fs::path mountpoint(int device) {
    return fs::path("/sky/fuse") / std::to_string(device);
}

} // namespace

StoragePlan plan_storage(const Config& config, const Spec& spec) {
    StoragePlan plan;
    const bool flushes = passes_flushes(spec.hypervisor);
    std::set<std::string> classes;
    for (const auto& disk : spec.volumes) {
        const auto& of = config.volumes.classes.at(disk.storage_class);
        if (!by_process(of)) {
            continue;
        }
        const auto driver = driver_of(config, disk.storage_class, spec.path);
        const std::string node = fmt::format("v{}", plan.volumes.size());
        plan.volumes.push_back({.file = disk.name.str() + ".img",
                                .read_only = disk.read_only,
                                .locked = driver->network() && !disk.read_only,
                                .node = node,
                                .blockdev = driver->blockdev(disk, node, flushes)});
        auto more = driver->view(disk);
        plan.view.insert(plan.view.end(), more.begin(), more.end());
        plan.network = plan.network || driver->network();
        if (classes.insert(disk.storage_class).second) {
            auto files = driver->files();
            plan.files.insert(plan.files.end(), files.begin(), files.end());
        }
    }
    return plan;
}

View plan_storage_view(const Config& config, const StoragePlan& plan,
                       const StoragePrograms& programs, const std::vector<int>& devices) {
    View view;
    for (const auto& root : config.program_roots) {
        view.push_back(bind_to(root, root));
        if (root == "/usr") { // libfuse prefers a fusermount3 there to the one in PATH
            view.push_back(
                {.kind = Mount::Kind::kTmpfs, .source = {}, .target = "/usr/bin", .size_mib = 1});
            view.push_back({.kind = Mount::Kind::kReadOnly, .source = {}, .target = "/usr/bin"});
        }
    }
    view.push_back(bind_to(programs.daemon, "/sky/bin/qemu-storage-daemon"));
    view.push_back(bind_to(programs.fusermount, "/sky/bin/fusermount3"));
    for (const int device : devices) {
        view.push_back({.kind = Mount::Kind::kFile, .source = {}, .target = mountpoint(device)});
    }
    for (const char* name : {"null", "urandom"}) {
        const auto path = fs::path("/dev") / name;
        view.push_back({.kind = Mount::Kind::kDevice, .source = path, .target = path});
    }
    // libfuse opens this one first, and may not mount it: then it asks fusermount3.
    view.push_back({.kind = Mount::Kind::kDevice, .source = "/dev/null", .target = "/dev/fuse"});
    for (const auto& file : plan.files) {
        view.push_back(bind_to(programs.copies / file.name, fs::path(kCopies) / file.name));
    }
    view.insert(view.end(), plan.view.begin(), plan.view.end());
    return view;
}

std::vector<std::string> storage_arguments(const StoragePlan& plan,
                                           const std::vector<int>& devices) {
    std::vector<std::string> out;
    for (std::size_t i = 0; i < plan.volumes.size(); ++i) {
        const auto& volume = plan.volumes[i];
        out.insert(out.end(), {"--blockdev", volume.blockdev, "--export",
                               dump_json({{"type", "fuse"},
                                          {"id", volume.node},
                                          {"node-name", volume.node},
                                          {"mountpoint", mountpoint(devices.at(i)).string()},
                                          {"writable", !volume.read_only},
                                          {"growable", false},
                                          {"allow-other", "off"}})});
    }
    return out;
}

} // namespace sky::vm
