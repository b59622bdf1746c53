// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <sky-cache-push/cache.hpp>
#include <sky-cache-push/closure.hpp>
#include <sky-vm-run/fetch.hpp>
#include <sky-vm-run/store-gc.hpp>
#include <sky-vm-run/verify.hpp>
#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/hash.hpp>

#include <array>
#include <ctime>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>
#include <set>
#include <sys/file.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace fs = std::filesystem;
using namespace sky;

namespace {

const auto kTop = StorePath::parse("/nix/store/00000000000000000000000000000001-top");
const auto kDep = StorePath::parse("/nix/store/00000000000000000000000000000002-dep");

/// A state directory with a published closure of two paths.
class World {
  public:
    World()
        : root_(make_root()), state_(root_), tenant_(Tenant::parse("alice")),
          cache_(state_, tenant_) {
        fs::create_directories(root_ / "cache");
        fs::create_directories(store());
        fs::create_directories(state_.keys());
        atomic_write(state_.keys() / "alice.pub", key_.public_text() + "\n", {.mode = 0644});
        cache_.prepare();
        publish("text of top", "text of dep");
    }
    World(const World&) = delete;
    World& operator=(const World&) = delete;
    ~World() {
        std::error_code ignored;
        fs::remove_all(root_, ignored);
    }

    /// Replaces what the cache has.
    void publish(const std::string& top, const std::string& dep) {
        record_.closure.clear();
        add(kTop, top, {kDep});
        add(kDep, dep, {});
        record_.nar_hash = record_.closure.front().nar_hash;
    }

    vm::Fetched fetch(const std::function<void(std::size_t, std::size_t)>& progress = {}) {
        return vm::fetch_closure(record_, cache_.directory(), store(), progress);
    }
    [[nodiscard]] fs::path store() const { return root_ / "store"; }
    [[nodiscard]] std::string text(const StorePath& path) const {
        return read_file(store() / path.base() / "file", 1000);
    }
    [[nodiscard]] fs::path nar(const StorePath& path) const {
        return cache_.directory() / cache_.find(path).value().url();
    }
    [[nodiscard]] fs::path info(const StorePath& path) const { return cache_.info_file(path); }
    /// What a reader of the store may take for a store path.
    [[nodiscard]] std::size_t visible() const {
        std::size_t n = 0;
        for (const auto& entry : fs::directory_iterator(store())) {
            n += entry.path().filename().string().front() == '.' ? 0 : 1;
        }
        return n;
    }
    [[nodiscard]] bool nothing_left_behind() const {
        return !fs::exists(store() / ".incoming") || fs::is_empty(store() / ".incoming");
    }
    Record& record() { return record_; }

  private:
    static fs::path make_root() {
        std::string name = (fs::temp_directory_path() / "sky-fetch.XXXXXX").string();
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        return name;
    }

    void add(const StorePath& path, const std::string& text, std::vector<StorePath> references) {
        std::string nar;
        NarWriter writer([&](std::string_view data) { nar += data; });
        writer.directory_begin();
        writer.entry("file");
        writer.file_begin(false, text.size());
        writer.file_data(text);
        writer.file_end();
        writer.directory_end();
        const NarInfo info{.path = path,
                           .compressed = std::nullopt,
                           .nar_hash = sha256(nar),
                           .nar_size = nar.size(),
                           .references = references,
                           .signature = std::nullopt};
        const cache::Staging staging(cache_.staging());
        const auto staged = cache::Cache::stage(staging, info, string_source(nar), 1000000);
        cache_.publish_nar(staged);
        cache::Cache::sign_info(staged, key_);
        cache_.publish_info(staged);
        record_.closure.push_back({path, info.nar_hash, info.nar_size, std::move(references)});
    }

    fs::path root_;
    State state_;
    Tenant tenant_;
    cache::Cache cache_;
    SigningKey key_ = SigningKey::generate("skyflake-alice");
    Record record_{.machine = {tenant_, Repo::parse("infra"), Machine::parse("www")},
                   .rev = Revision::parse(std::string(40, 'a')),
                   .build = BuildId::parse("01j8000000000000"),
                   .created = "2026-11-22T10:00:00Z",
                   .deployment = kTop,
                   .nar_hash = {},
                   .closure = {},
                   .manifest = "{}"};
};

void flip(const fs::path& file, std::streamoff at) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(at);
    const auto byte = static_cast<char>(stream.get() ^ 0x10);
    stream.seekp(at);
    stream.put(byte);
}

} // namespace

TEST_CASE("a closure is fetched once") {
    World world;
    const auto first = world.fetch();
    CHECK(first.paths == 2);
    CHECK(first.bytes > 0);
    CHECK(world.text(kTop) == "text of top");
    CHECK(world.text(kDep) == "text of dep");
    CHECK(world.visible() == 2);
    CHECK(world.nothing_left_behind());
    CHECK(world.fetch().paths == 0);
}

TEST_CASE("a bit that flipped in the cache is found, and nothing gets a name") {
    World world;
    const auto nar = world.nar(kDep);
    const auto size = static_cast<std::streamoff>(fs::file_size(nar));
    const auto good = read_file(nar, 1000);
    int accepted = 0;
    for (std::streamoff at = 0; at < size; ++at) {
        flip(nar, at);
        try {
            world.fetch();
            ++accepted; // some bits of a zstd header mean nothing; then the bytes are the same
            CHECK(world.text(kDep) == "text of dep");
            fs::remove_all(world.store());
            fs::create_directories(world.store());
        } catch (const Error& e) {
            CHECK((e.code() == ExitCode::kData || e.code() == ExitCode::kUnavailable));
            CHECK(world.visible() == 0);
            CHECK(world.nothing_left_behind());
        }
        flip(nar, at);
    }
    CHECK(accepted < size / 4);
    CHECK(read_file(nar, 1000) == good);
    CHECK(world.fetch().paths == 2);
}

TEST_CASE("the record decides, not the narinfo") {
    World world;
    const auto old = world.record();
    world.publish("other bytes", "text of dep"); // signed and all
    world.record() = old;
    CHECK_THROWS_WITH(world.fetch(), ContainsSubstring("not what its record says (push it again)"));
    CHECK(world.visible() == 0);
}

TEST_CASE("a path that the cache lacks is said to be missing") {
    World world;
    fs::remove(world.info(kDep));
    try {
        world.fetch();
        FAIL("fetched what is not there");
    } catch (const Error& e) {
        CHECK(e.code() == ExitCode::kUnavailable);
        CHECK_THAT(e.what(), ContainsSubstring("dep"));
    }
}

TEST_CASE("links and fifos in the cache are not followed") {
    World world;
    const auto nar = world.nar(kDep);
    fs::rename(nar, nar.string() + ".moved");
    fs::create_symlink(nar.string() + ".moved", nar);
    CHECK_THROWS_AS(world.fetch(), Error);
    fs::remove(nar);
    REQUIRE(::mkfifo(nar.c_str(), 0600) == 0);
    CHECK_THROWS_WITH(world.fetch(), ContainsSubstring("not a regular file"));
    CHECK(world.visible() == 0);
}

TEST_CASE("what a dead fetch left is no store path, and is swept") {
    World world;
    fs::create_directories(world.store() / ".incoming/dead" /
                           kDep.base());                 // died while it unpacked
    fs::create_directories(world.store() / kTop.base()); // died between name and mark
    CHECK(world.fetch().paths == 2);
    CHECK(world.text(kTop) == "text of top");
    CHECK(world.nothing_left_behind());
}

TEST_CASE("a path that was built again with other bytes replaces the old one, which stays for who "
          "runs it") {
    World world;
    world.fetch();
    const auto running = open_file(world.store() / kTop.base(), O_RDONLY | O_DIRECTORY);
    world.publish("other bytes", "text of dep");
    CHECK(world.fetch().paths == 1);
    CHECK(world.text(kTop) == "other bytes");
    CHECK(read_all(open_beneath(running.get(), "file", O_RDONLY).get(), 100, "file") ==
          "text of top");
}

TEST_CASE("many fetches at once make one store") {
    World world;
    std::mutex mutex;
    std::set<std::string> complaints;
    for (int round = 0; round < 40; ++round) {
        fs::remove_all(world.store());
        fs::create_directories(world.store());
        std::vector<std::thread> threads;
        for (int i = 0; i < 6; ++i) {
            threads.emplace_back([&] {
                try {
                    world.fetch();
                } catch (const std::exception& e) {
                    const std::lock_guard guard(mutex);
                    complaints.insert(e.what());
                }
            });
        }
        for (auto& thread : threads) {
            thread.join();
        }
        CHECK(world.text(kTop) == "text of top");
        CHECK(world.visible() == 2);
        CHECK(world.nothing_left_behind());
    }
    CHECK(complaints == std::set<std::string>{});
}

namespace {

/// All that is older than in an hour.
vm::StoreSweep sweep_all() {
    vm::StoreSweep sweep;
    sweep.before.tv_sec = std::time(nullptr) + 3600;
    return sweep;
}

} // namespace

TEST_CASE("a sweep leaves what is wanted, and a fetch brings back what went", "[vm]") {
    World world;
    world.fetch();
    auto sweep = sweep_all();
    sweep.live = {kDep.base()};
    sweep.dry_run = true;
    CHECK(vm::sweep_store(world.store(), sweep).removed == 1);
    CHECK(world.visible() == 2);
    sweep.dry_run = false;
    const auto report = vm::sweep_store(world.store(), sweep);
    CHECK(report.paths == 1);
    CHECK(report.removed == 1);
    CHECK(world.visible() == 1);
    CHECK(world.text(kDep) == "text of dep");
    CHECK(world.nothing_left_behind());
    CHECK(vm::lacking_of(world.record(), world.store()) == 1);
    CHECK(world.fetch().paths == 1);
    CHECK(world.text(kTop) == "text of top");
}

TEST_CASE("a sweep leaves what a fetch counts on since it began", "[vm]") {
    World world;
    world.fetch();
    const std::array<timespec, 2> long_ago{};
    for (const auto& mark : fs::directory_iterator(world.store() / ".ok")) {
        REQUIRE(::utimensat(AT_FDCWD, mark.path().c_str(), long_ago.data(), AT_SYMLINK_NOFOLLOW) ==
                0);
    }
    vm::StoreSweep sweep;
    REQUIRE(::clock_gettime(CLOCK_REALTIME_COARSE, &sweep.before) == 0);
    CHECK(world.fetch().paths == 0); // all is there, and now it is used
    CHECK(vm::sweep_store(world.store(), sweep).removed == 0);
    CHECK(world.visible() == 2);
}

TEST_CASE("while a sweep takes what it looked at, no fetch puts another in its place", "[vm]") {
    World world;
    world.fetch();
    const auto mark = world.store() / ".ok" / kDep.base();
    const auto before = fs::read_symlink(mark);
    world.publish("text of top", "other text of dep");
    const Fd sweeper = open_file(world.store(), O_RDONLY | O_DIRECTORY);
    std::thread other;
    fs::path seen;
    world.fetch([&](std::size_t, std::size_t) {
        REQUIRE(::flock(sweeper.get(), LOCK_EX) == 0);
        other = std::thread([&] {
            std::this_thread::sleep_for(std::chrono::milliseconds(200)); // it is whole by now
            seen = fs::read_symlink(mark);
            ::flock(sweeper.get(), LOCK_UN);
        });
    });
    other.join();
    CHECK(seen == before);
    CHECK(fs::read_symlink(mark) != before);
}

TEST_CASE("what was replaced goes when nobody who was started before runs any more", "[vm]") {
    World world;
    world.fetch();
    world.publish("text of top", "other text of dep");
    world.fetch();
    auto sweep = sweep_all();
    sweep.live = {kDep.base(), kTop.base()};
    const auto replaced = [&] {
        const auto n = std::distance(fs::directory_iterator(world.store() / ".replaced"),
                                     fs::directory_iterator());
        return n;
    };
    REQUIRE(replaced() == 1);
    sweep.oldest = std::time(nullptr) - 100;
    CHECK(vm::sweep_store(world.store(), sweep).removed == 0);
    CHECK(replaced() == 1);
    sweep.oldest = std::time(nullptr) + 100;
    CHECK(vm::sweep_store(world.store(), sweep).removed == 1);
    CHECK(replaced() == 0);
    CHECK(world.text(kDep) == "other text of dep");
}

TEST_CASE("what has no mark and no owner goes too, and an empty store is no error", "[vm]") {
    World world;
    CHECK(vm::sweep_store(world.store(), sweep_all()).removed == 0);
    world.fetch();
    fs::create_directory(world.store() / "00000000000000000000000000000003-half");
    auto sweep = sweep_all();
    sweep.live = {kDep.base(), kTop.base()};
    CHECK(vm::sweep_store(world.store(), sweep).removed == 1);
    CHECK(world.visible() == 2);
}

TEST_CASE("a store is read and compared; what is damaged is told, put aside, fetched again",
          "[vm]") {
    World world;
    CHECK(vm::verify_store(world.store(), true).paths == 0); // nothing was ever fetched
    world.fetch();
    CHECK(vm::verify_store(world.store(), false).paths == 2);
    CHECK(vm::verify_store(world.store(), false).damaged.empty());
    const auto file = world.store() / kDep.base() / "file";
    fs::permissions(file, fs::perms::owner_all);
    std::ofstream(file) << "text of deq";
    fs::permissions(file, fs::perms::owner_read | fs::perms::group_read | fs::perms::others_read);
    const vm::Damage flipped{kDep.base(), "not what its record says"};
    CHECK(vm::verify_store(world.store(), false).damaged == std::vector{flipped});
    CHECK(world.fetch().paths == 0); // a start does not read what is there
    CHECK(vm::verify_store(world.store(), true).damaged == std::vector{flipped});
    CHECK(vm::verify_store(world.store(), false).paths == 1);
    CHECK(world.fetch().paths == 1);
    CHECK(world.text(kDep) == "text of dep");
    const fs::directory_iterator aside(world.store() / ".replaced");
    CHECK(read_file(aside->path() / "file", 100) == "text of deq"); // for who runs from it
    fs::rename(world.store() / kTop.base(), world.store() / ".moved");
    const vm::Damage gone{kTop.base(), "not there"};
    CHECK(vm::verify_store(world.store(), false).damaged == std::vector{gone});
    CHECK(world.fetch().paths == 1); // that much a start sees
    CHECK(vm::verify_store(world.store(), false).damaged.empty());
}
