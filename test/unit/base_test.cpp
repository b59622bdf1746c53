// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <sky/error.hpp>
#include <sky/exit.hpp>
#include <sky/fd.hpp>
#include <sky/lines.hpp>
#include <sky/lock.hpp>
#include <sky/process.hpp>
#include <sky/store-path.hpp>
#include <sky/write-together.hpp>

#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <random>
#include <sys/file.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

using namespace sky;
namespace fs = std::filesystem;

namespace {

struct ScratchDir {
    fs::path path;
    ScratchDir() {
        std::string text = (fs::temp_directory_path() / "sky-unit-XXXXXX").string();
        REQUIRE(::mkdtemp(text.data()) != nullptr);
        path = text;
    }
    ScratchDir(const ScratchDir&) = delete;
    ScratchDir& operator=(const ScratchDir&) = delete;
    ~ScratchDir() { fs::remove_all(path); }
};

} // namespace

TEST_CASE("atomic_write leaves the whole file or the old one, and no temporary") {
    const ScratchDir scratch;
    const auto file = scratch.path / "record.json";
    atomic_write(file, "one", {.mode = 0640});
    atomic_write(file, "two", {.mode = 0640});
    CHECK(read_file(file, 10) == "two");
    CHECK((fs::status(file).permissions() & fs::perms::mask) == static_cast<fs::perms>(0640));
    CHECK(std::distance(fs::directory_iterator(scratch.path), fs::directory_iterator()) == 1);
    CHECK_THROWS_AS(atomic_write(scratch.path / "gone" / "x", "y"), SysError);
    CHECK_THROWS_WITH(read_file(file, 2), ContainsSubstring("larger than 2 bytes"));
    CHECK_FALSE(read_file_if_exists(scratch.path / "nothing", 10));
}

TEST_CASE("files written together are each whole or as they were, in order, and no temporary") {
    const ScratchDir scratch;
    fs::create_directory(scratch.path / "d");
    const auto one = scratch.path / "one";
    const auto two = scratch.path / "d" / "two";
    atomic_write(one, "old");
    atomic_write_together({{one, "1", {.mode = 0640}}, {two, "2", {.durable = false}}});
    CHECK(read_file(one, 10) == "1");
    CHECK(read_file(two, 10) == "2");
    CHECK((fs::status(one).permissions() & fs::perms::mask) == static_cast<fs::perms>(0640));
    // A file that can not be begun: none has got its name yet.
    CHECK_THROWS_AS(atomic_write_together({{one, "3"}, {scratch.path / "gone" / "x", "y"}}),
                    SysError);
    CHECK(read_file(one, 10) == "1");
    // One that can not get its name: those before it have theirs.
    fs::create_directory(scratch.path / "d" / "taken");
    CHECK_THROWS_AS(
        atomic_write_together({{one, "4"}, {scratch.path / "d" / "taken", "y"}, {two, "5"}}),
        SysError);
    CHECK(read_file(one, 10) == "4");
    CHECK(read_file(two, 10) == "2");
    CHECK(std::distance(fs::recursive_directory_iterator(scratch.path),
                        fs::recursive_directory_iterator()) == 4);
    atomic_write_together({});
}

TEST_CASE("atomic_write takes over what a killed writer left, and waits for one that lives") {
    const ScratchDir scratch;
    const auto file = scratch.path / "record.json";
    {
        const Fd left = open_file(scratch.path / ".record.json.tmp", O_WRONLY | O_CREAT, 0600);
        write_all(left.get(), "half of something long");
    }
    atomic_write(file, "whole");
    CHECK(read_file(file, 10) == "whole");
    std::vector<std::thread> writers;
    for (const char text : {'a', 'b', 'c', 'd'}) {
        writers.emplace_back([&, text] {
            for (int i = 0; i < 50; ++i) {
                atomic_write(file, std::string(1000, text), {.durable = false});
            }
        });
    }
    for (auto& writer : writers) {
        writer.join();
    }
    const auto text = read_file(file, 2000);
    CHECK(text == std::string(1000, text.at(0)));
    CHECK(std::distance(fs::directory_iterator(scratch.path), fs::directory_iterator()) == 1);
}

TEST_CASE("a full disk is told first, with its file and the way out, and is I/O") {
    const Fd full = open_file("/dev/full", O_WRONLY);
    try {
        write_all(full.get(), "x");
        FAIL("there was room");
    } catch (const SysError& e) {
        CHECK(e.what() == std::string("disk full: cannot write '/dev/full' (make room there, then "
                                      "try again)"));
        CHECK(e.code() == ExitCode::kIo);
    }
    CHECK(SysError(EIO, "x").code() == ExitCode::kIo);
    CHECK(SysError(EACCES, "x").code() == ExitCode::kSystem);
}

TEST_CASE("open_beneath follows nothing out of a directory") {
    const ScratchDir scratch;
    fs::create_directories(scratch.path / "in" / "sub");
    atomic_write(scratch.path / "outside", "x");
    atomic_write(scratch.path / "in" / "sub" / "file", "y");
    fs::create_symlink("../outside", scratch.path / "in" / "link");
    fs::create_directory_symlink("sub", scratch.path / "in" / "dirlink");
    const Fd in = open_file(scratch.path / "in", O_PATH | O_DIRECTORY);
    CHECK(read_all(open_beneath(in.get(), "sub/file", O_RDONLY).get(), 10, "file") == "y");
    for (const char* bad : {"link", "../outside", "/etc/passwd", "dirlink/file"}) {
        CHECK_THROWS_AS(open_beneath(in.get(), bad, O_RDONLY), SysError);
    }
}

TEST_CASE("a fifo is not read as a file") {
    const ScratchDir scratch;
    REQUIRE(::mkfifo((scratch.path / "fifo").c_str(), 0600) == 0);
    CHECK_THROWS_WITH(read_file(scratch.path / "fifo", 10),
                      ContainsSubstring("not a regular file"));
}

TEST_CASE("a command gives exit code, output and nothing of ours") {
    const auto result = Command("/bin/sh")
                            .args({"-c", "cat; echo \"$HOME|$X\"; exit 7"})
                            .env("X", "y")
                            .capture("in", 100);
    CHECK(result.exit_code == 7);
    CHECK(result.out == "in|y\n");
    CHECK(Command("/bin/sh").args({"-c", "kill -TERM $$"}).run() == 128 + SIGTERM);
    CHECK_THROWS_WITH(Command("/nonexistent").run(),
                      ContainsSubstring("cannot execute '/nonexistent'"));
    CHECK_THROWS_WITH(Command("/bin/sh").args({"-c", "yes"}).capture("", 1000),
                      ContainsSubstring("printed more than 1000 bytes"));
    const auto tail =
        Command("/bin/sh").args({"-c", "echo bad >&2"}).capture("", 10, std::nullopt, true);
    CHECK(tail.err == "bad\n");
}

TEST_CASE("no descriptor leaks into a command but the one that is passed") {
    const ScratchDir scratch;
    const Fd leaky(::open("/dev/null", O_RDONLY)); // NOLINT(android-cloexec-open): on purpose
    const Fd passed = open_file("/dev/zero", O_RDONLY);
    const auto result = Command("/bin/sh")
                            .args({"-c", "ls -l /proc/self/fd 2>&1 | grep -c -e null -e zero"})
                            .pass_fd(passed.get())
                            .capture("x", 100);
    CHECK(result.out == "1\n");
}

TEST_CASE("ignored signals and a deadline") {
    std::signal(SIGPIPE, SIG_IGN);
    CHECK(Command("/bin/sh").args({"-c", "kill -PIPE $$"}).run() == 128 + SIGPIPE);
    CHECK_THROWS_WITH(
        Command("/bin/sleep").arg("60").capture("", 10, std::chrono::milliseconds(1000)),
        "'/bin/sleep' took longer than 1 s");
}

TEST_CASE("a child ends with its object, and alive() tells") {
    pid_t pid = -1;
    {
        const Child child = Command("/bin/sleep").arg("60").spawn();
        pid = child.pid();
        CHECK(alive(pid));
    }
    CHECK_FALSE(alive(pid));
}

TEST_CASE("a lock has one holder, who is named, and ends with it") {
    const ScratchDir scratch;
    const auto file = scratch.path / "lock";
    {
        const auto first = Lock::try_take(file, "push 1");
        REQUIRE(first);
        CHECK_FALSE(Lock::try_take(file, "push 2"));
        CHECK(Lock::holder(file) == "push 1");
        std::string seen;
        CHECK_THROWS_WITH(Lock::take(file, "push 2", std::chrono::milliseconds(0),
                                     [&](const std::string& holder) { seen = holder; }),
                          "'lock' is held by push 1 (try again later)");
        CHECK(seen == "push 1");
    }
    CHECK(Lock::try_take(file, "push 3"));
    auto last = Lock::try_take(file, "push 4");
    const Fd waiter = open_file(file, O_RDWR); // as somebody who waits has it open
    last->remove(file);
    CHECK_FALSE(std::filesystem::exists(file));
    const auto after = Lock::try_take(file, "push 5");
    CHECK(after);
    CHECK(Lock::holder(file) == "push 5");
}

TEST_CASE("lines are capped, and what follows an unbuffered line stays") {
    Pipe pipe = make_pipe();
    write_all(pipe.write.get(), "{\"a\":1}\nrest");
    LineReader unbuffered(pipe.read.get());
    CHECK(unbuffered.next_unbuffered() == "{\"a\":1}");
    LineReader reader(pipe.read.get(), 10);
    pipe.write.reset();
    CHECK(reader.next() == "rest");
    CHECK_FALSE(reader.next());

    Pipe second = make_pipe();
    write_all(second.write.get(), std::string(20, 'x'));
    LineReader capped(second.read.get(), 10);
    CHECK_THROWS_WITH(capped.next(), "a line is longer than 10 bytes");
    LineReader slow(make_pipe().read.get(), 10);
    CHECK_FALSE(hung_up(second.write.get()));
    second.read.reset();
    CHECK(hung_up(second.write.get()));
}

TEST_CASE("store paths") {
    const std::string hash = "0123456789abcdfghijklmnpqrsvwxyz";
    const auto path = StorePath::parse("/nix/store/" + hash + "-a.b_c+d?e=f-1");
    CHECK(path.hash() == hash);
    CHECK(path.base() == hash + "-a.b_c+d?e=f-1");
    for (const std::string& bad : std::vector<std::string>{
             std::string("/nix/store/"), "/nix/store/" + hash, "/nix/store/" + hash + "-",
             "/nix/store/" + hash + "-.x", "/nix/store/" + hash + "-a/b",
             "/nix/store/" + hash + "-a\n", "/nix/store/" + hash + "-a b",
             "/nix/store/e" + hash.substr(1) + "-a", "/nix/store/../etc",
             "/nix/store2/" + hash + "-a", hash + "-a", "/nix/store/" + hash + "-${x}",
             "/nix/store/" + hash + "-" + std::string(212, 'a')}) {
        CHECK_THROWS_AS(StorePath::parse(bad), Error);
    }
}

TEST_CASE("NAR hashes: nix's own example, round trip, spare bit") {
    // nix hash to-base32 of sha256 of "" as nix 2.8 prints it.
    Sha256 empty{0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4,
                 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b,
                 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55};
    CHECK(nar_hash_text(empty) == "sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73");
    std::mt19937 random(3);
    for (int i = 0; i < 1000; ++i) {
        Sha256 hash{};
        for (auto& byte : hash) {
            byte = static_cast<std::uint8_t>(random());
        }
        REQUIRE(parse_nar_hash(nar_hash_text(hash)) == hash);
    }
    CHECK_THROWS_AS(parse_nar_hash("sha256:" + std::string(52, 'z')), Error);
    CHECK_THROWS_AS(parse_nar_hash("sha256:" + std::string(51, '0')), Error);
    CHECK_THROWS_AS(parse_nar_hash("md5:" + std::string(52, '0')), Error);
}
