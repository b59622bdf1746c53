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
    c.state = "/local";
    c.shared = "/shared";
    c.volumes.classes["shared"].kind = VolumeClass::Kind::kLeased;
    c.volumes.classes["shared"].wait_s = 30;
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
    return plan_storage(config(), spec());
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
    CHECK(p.view == View{{.source = "/shared/volumes/alice/infra/www/root.img",
                          .target = "/sky/volumes/root.img",
                          .writable = true},
                         {.source = "/shared/volumes/alice/infra/www/data.img",
                          .target = "/sky/volumes/data.img"}});
    Spec local = spec();
    local.volumes.erase(local.volumes.begin() + 1, local.volumes.end());
    CHECK(plan_storage(config(), local).volumes.empty());
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
    const auto view =
        plan_storage_view(config(), plan(), {"/q/daemon", "/q/fusermount", "/q/copies"}, {7, 12});
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

TEST_CASE("a fenced volume is an image that its process opens with copies of conf and key",
          "[vm][storage]") {
    Config c = config();
    auto& of = c.volumes.classes["ceph"];
    of.kind = VolumeClass::Kind::kFenced;
    of.driver = VolumeClass::Driver::kCeph;
    of.pool = "vms";
    of.user = "hosts";
    of.conf = "/c/ceph.conf";
    of.keyring = "/c/key";
    Spec s = spec();
    s.volumes = {{Volume::parse("root"), "ceph", 64, false},
                 {Volume::parse("data"), "ceph", 64, true}};
    const auto p = plan_storage(c, s);
    REQUIRE(p.volumes.size() == 2);
    CHECK(p.network);
    const auto node = parse_json(p.volumes[0].blockdev, 4096, "node");
    CHECK(node["driver"] == "rbd");
    CHECK(node["pool"] == "vms");
    CHECK(node["image"] == "alice.infra.www.root");
    CHECK(node["user"] == "hosts");
    CHECK(node["conf"] == "/sky/etc/ceph.conf");
    CHECK(node["cache"]["direct"] == false);
    CHECK(node["cache"]["no-flush"] == false);
    CHECK(node["read-only"] == false);
    CHECK(parse_json(p.volumes[1].blockdev, 4096, "node")["read-only"] == true);
    REQUIRE(p.files.size() == 2); // once for both
    CHECK(p.files[0].source == "/c/ceph.conf");
    CHECK(p.files[0].more.find("[client.hosts]\nkeyring = /sky/etc/ceph.keyring\n") !=
          std::string::npos);
    CHECK(p.files[1] == StorageFile{.name = "ceph.keyring", .source = "/c/key"});
    const auto view = plan_storage_view(c, p, {"/q/daemon", "/q/fusermount", "/q/copies"}, {7, 12});
    CHECK(find(view, "/sky/etc/ceph.keyring")->source == "/q/copies/ceph.keyring");
    CHECK(std::none_of(view.begin(), view.end(), [](const Mount& m) { return m.writable; }));
    // What it answers to a read is the OSDs', and a write may be on its way until a flush only
    // where the hypervisor hands that on.
    CHECK(p.files[0].more.find("\nrbd_cache_policy = writearound\n") != std::string::npos);
    CHECK(p.files[0].more.find("\nrbd_cache_writethrough_until_flush = true\n") !=
          std::string::npos);
    for (const char* other : {"firecracker", "another"}) {
        s.hypervisor = other;
        const auto direct = plan_storage(c, s).volumes[0];
        CHECK(parse_json(direct.blockdev, 4096, "node")["cache"]["direct"] == true);
    }
}
