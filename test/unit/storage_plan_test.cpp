// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <sky-vm-run/storage-plan.hpp>
#include <sky-vm-run/storage.hpp>
#include <sky/error.hpp>
#include <sky/json.hpp>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

using namespace sky;
using namespace sky::vm;

namespace {

Config config() {
    Config c;
    c.bin = "/usr/bin";
    c.volumes.classes["shared"] = {.kind = VolumeClass::Kind::kLeased, .wait_s = 30};
    return c;
}

Spec spec() {
    const std::string base(32, '1');
    return {.path = MachinePath::parse_joined("alice.infra.www"),
            .rev = Revision::parse(std::string(40, 'a')),
            .deployment = StorePath::parse("/nix/store/" + base + "-skyflake-www"),
            .nar_hash = "sha256:" + std::string(52, '0'),
            .runner = StorePath::parse("/nix/store/" + std::string(32, '2') + "-runner"),
            .hypervisor = "qemu",
            .vcpu = 1,
            .mem_mib = 256,
            .machine_id = "12345678-1234-4123-8123-123456789abc",
            .interfaces = {},
            .volumes = {{Volume::parse("scratch"), "local", 64, false},
                        {Volume::parse("root"), "shared", 64, false},
                        {Volume::parse("data"), "shared", 32, true}},
            .ready = {}};
}

StoragePlan plan() {
    return plan_storage(config(), spec(), {{"local", "/local/www"}, {"shared", "/shared/www"}});
}

const Mount* find(const View& view, const std::string& target) {
    const auto at = std::find_if(view.begin(), view.end(),
                                 [&](const Mount& mount) { return mount.target == target; });
    return at == view.end() ? nullptr : &*at;
}

} // namespace

TEST_CASE("a storage process opens volumes of leased classes, and no other", "[vm][storage]") {
    const auto p = plan();
    REQUIRE(p.volumes.size() == 2);
    CHECK(p.volumes[0].file == "root.img");
    CHECK(p.volumes[1].file == "data.img");
    CHECK_FALSE(p.network);
    CHECK(p.view == View{{.source = "/shared/www/root.img",
                          .target = "/sky/volumes/root.img",
                          .writable = true},
                         {.source = "/shared/www/data.img", .target = "/sky/volumes/data.img"}});
    Spec local = spec();
    local.volumes.erase(local.volumes.begin() + 1, local.volumes.end());
    CHECK(plan_storage(config(), local, {}).volumes.empty());
}

TEST_CASE("volumes are opened raw, past the page cache, locked", "[vm][storage]") {
    const auto p = plan();
    for (const auto& volume : p.volumes) {
        const auto node = parse_json(volume.blockdev, 4096, "node");
        CHECK(node["driver"] == "raw");
        CHECK(node["node-name"] == volume.node);
        CHECK(node["cache"]["direct"] == true);
        CHECK(node["cache"]["no-flush"] == false);
        CHECK(node["file"]["driver"] == "file");
        CHECK(node["file"]["filename"] == "/sky/volumes/" + volume.file);
        CHECK(node["file"]["locking"] == "on");
        CHECK(node["file"]["cache"]["direct"] == true);
        CHECK(node["read-only"] == volume.read_only);
        CHECK(node["file"]["read-only"] == volume.read_only);
    }
}

TEST_CASE("each volume is exported on the descriptor of its own mount", "[vm][storage]") {
    const auto p = plan();
    const auto args = storage_arguments(p, {7, 12});
    REQUIRE(args.size() == 8);
    CHECK(args[0] == "--blockdev");
    CHECK(args[1] == p.volumes[0].blockdev);
    CHECK(args[2] == "--export");
    for (const std::size_t i : {0U, 1U}) {
        const auto shown = parse_json(args.at(4 * i + 3), 4096, "export");
        CHECK(shown["type"] == "fuse");
        CHECK(shown["node-name"] == p.volumes[i].node);
        CHECK(shown["mountpoint"] == (i == 0 ? "/sky/fuse/7" : "/sky/fuse/12"));
        CHECK(shown["writable"] == !p.volumes[i].read_only);
        CHECK(shown["growable"] == false);
    }
}

TEST_CASE("its view holds programs and volumes, and nothing to write but those", "[vm][storage]") {
    const auto view = plan_storage_view(config(), plan(), {"/q/daemon", "/q/fusermount"}, {7, 12});
    CHECK(find(view, "/sky/bin/qemu-storage-daemon")->source == "/q/daemon");
    CHECK(find(view, "/sky/bin/fusermount3")->source == "/q/fusermount");
    CHECK(find(view, "/sky/fuse/7")->kind == Mount::Kind::kFile);
    CHECK(find(view, "/dev/fuse")->source == "/dev/null");
    CHECK(find(view, "/usr/bin")->kind == Mount::Kind::kTmpfs); // none of the host's programs
    CHECK(find(view, "/nix/store") == nullptr);
    for (const auto& mount : view) {
        CHECK(mount.writable == (mount.target == "/sky/volumes/root.img"));
    }
}

TEST_CASE("a filesystem that keeps writes in memory is refused", "[vm][storage]") {
    std::string disk = "/var/tmp/sky-direct.XXXXXX";
    REQUIRE(::mkdtemp(disk.data()) != nullptr);
    need_direct(disk);
    CHECK(std::filesystem::is_empty(disk));
    std::filesystem::remove(disk);
    std::string memory = "/dev/shm/sky-direct.XXXXXX";
    REQUIRE(::mkdtemp(memory.data()) != nullptr);
    try {
        need_direct(memory);
        CHECK(false);
    } catch (const Error& e) {
        CHECK(e.code() == ExitCode::kConfig);
        CHECK(std::string(e.what()).find("has no O_DIRECT") != std::string::npos);
    }
    CHECK(std::filesystem::is_empty(memory));
    std::filesystem::remove(memory);
}
