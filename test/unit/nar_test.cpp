// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/hash.hpp>
#include <sky/nar.hpp>
#include <sky/zstd.hpp>

#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <set>
#include <sys/stat.h>
#include <unistd.h>

namespace fs = std::filesystem;

namespace {

/// A directory that goes with the test.
struct Scratch {
    Scratch() {
        std::string name = (fs::temp_directory_path() / "sky-nar.XXXXXX").string();
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        path = name;
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    ~Scratch() {
        std::error_code ignored;
        fs::permissions(path, fs::perms::owner_all, ignored);
        for (auto it = fs::recursive_directory_iterator(path, ignored); it != fs::end(it);
             it.increment(ignored)) {
            if (it->is_directory() && !it->is_symlink()) {
                fs::permissions(it->path(), fs::perms::owner_all, ignored);
            }
        }
        fs::remove_all(path, ignored);
    }
    fs::path path;
};

std::string token(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < 8; ++i) {
        out += static_cast<char>(i < 4 ? (text.size() >> (8 * i)) & 0xffU : 0);
    }
    out += text;
    out.append((8 - text.size() % 8) % 8, '\0');
    return out;
}

std::string tokens(std::initializer_list<std::string_view> words) {
    std::string out;
    for (const auto word : words) {
        out += token(word);
    }
    return out;
}

std::string nar(const std::string& node) {
    return token("nix-archive-1") + node;
}
std::string file(std::string_view text) {
    return tokens({"(", "type", "regular", "contents", text, ")"});
}
std::string link(std::string_view target) {
    return tokens({"(", "type", "symlink", "target", target, ")"});
}
std::string entry(std::string_view name, const std::string& node) {
    return tokens({"entry", "(", "name", name, "node"}) + node + token(")");
}
std::string directory(const std::string& entries) {
    return tokens({"(", "type", "directory"}) + entries + token(")");
}

/// What parsing and writing again gives.
std::string echo(std::string_view text, const sky::NarLimits& limits = {}) {
    std::string out;
    sky::NarWriter writer([&](std::string_view data) { out += data; });
    sky::nar_parse(sky::string_source(text), writer, limits);
    writer.finish();
    return out;
}

std::string complaint(std::string_view text, const sky::NarLimits& limits = {}) {
    try {
        static_cast<void>(echo(text, limits));
    } catch (const sky::Error& e) {
        CHECK(e.code() == sky::ExitCode::kData);
        return e.what();
    }
    return "";
}

std::string dump(const fs::path& path) {
    std::string out;
    sky::nar_dump(path, [&](std::string_view data) { out += data; });
    return out;
}

void restore(const fs::path& parent, const std::string& name, std::string_view text) {
    const auto fd = sky::open_file(parent, O_RDONLY | O_DIRECTORY);
    sky::nar_restore(sky::string_source(text), fd.get(), name);
}

} // namespace

TEST_CASE("a NAR is what nix-store --dump writes") {
    // A tree with a file "a" ("hello\n"), an executable "b" (empty), a link "c" to "a", a directory
    // "d": made with nix 2.8.
    const Scratch scratch;
    const auto tree = scratch.path / "t";
    fs::create_directories(tree / "d");
    std::ofstream(tree / "a") << "hello\n";
    std::ofstream(tree / "b").close();
    fs::permissions(tree / "b", fs::perms(0755));
    fs::create_symlink("a", tree / "c");
    const auto text = dump(tree);
    CHECK(text.size() == 864);
    CHECK(sky::nix32(sky::sha256(text)) == "0g5cldbb7441wwil0la5mhahxqf8qkafhgzca8zbyyn9ga6njiyx");
    CHECK(echo(text) == text);
}

TEST_CASE("nar_restore is the reverse of nar_dump") {
    const Scratch scratch;
    const auto text = nar(directory(
        entry("a", file("hello")) + entry("b", directory(entry("x", link("../../etc")))) +
        entry("c", tokens({"(", "type", "regular", "executable", "", "contents", "", ")"}))));
    restore(scratch.path, "out", text);
    CHECK(dump(scratch.path / "out") == text);
    for (const auto* name : {"out", "out/a", "out/b", "out/b/x", "out/c"}) {
        struct stat info {};
        REQUIRE(::lstat((scratch.path / name).c_str(), &info) == 0);
        CHECK(info.st_mtim.tv_sec == 1);
        if (!S_ISLNK(info.st_mode)) {
            CHECK((info.st_mode & 07777U) == (std::string_view(name) == "out/a" ? 0444U : 0555U));
        }
    }
}

TEST_CASE("nar_restore follows no link and replaces nothing") {
    const Scratch scratch;
    fs::create_directory(scratch.path / "outside");
    fs::create_directory_symlink("outside", scratch.path / "out");
    CHECK_THROWS_AS(restore(scratch.path, "out", nar(directory(entry("x", file("evil"))))),
                    sky::SysError);
    CHECK_THROWS_AS(restore(scratch.path, "out", nar(file("evil"))), sky::SysError);
    CHECK(fs::is_empty(scratch.path / "outside"));
    CHECK_THROWS_AS(restore(scratch.path, "../out2", nar(file("evil"))), sky::Error);
}

TEST_CASE("hostile NARs are refused") {
    const auto good = nar(directory(entry("a", file("1234567")) + entry("b", link("x"))));
    REQUIRE(complaint(good).empty());
    CHECK_THAT(complaint(nar(directory(entry("..", file("x"))))),
               ContainsSubstring("a file named '..'"));
    CHECK_THAT(complaint(nar(directory(entry(".", file("x"))))),
               ContainsSubstring("a file named '.'"));
    CHECK_THAT(complaint(nar(directory(entry("a/b", file("x"))))),
               ContainsSubstring("a file named 'a/b'"));
    CHECK_THAT(complaint(nar(directory(entry("", file("x"))))),
               ContainsSubstring("a file named ''"));
    CHECK_THAT(complaint(nar(directory(entry(std::string_view("a\0b", 3), file("x"))))),
               ContainsSubstring("a file named"));
    CHECK_THAT(complaint(nar(directory(entry(std::string(256, 'a'), file("x"))))),
               ContainsSubstring("256 bytes"));
    CHECK_THAT(complaint(nar(directory(entry("b", file("")) + entry("a", file(""))))),
               ContainsSubstring("not sorted"));
    // A link, and then a file below it: only possible by naming it twice.
    CHECK_THAT(complaint(nar(directory(entry("a", link("/etc")) +
                                       entry("a", directory(entry("x", file(""))))))),
               ContainsSubstring("or twice"));
    CHECK_THAT(complaint(nar(link(""))), ContainsSubstring("empty"));
    CHECK_THAT(complaint(nar(link(std::string(5000, 'x')))), ContainsSubstring("5000 bytes"));
    CHECK_THAT(complaint(good + std::string(1, '\0')), ContainsSubstring("after its end"));
    CHECK_THAT(complaint(nar(tokens({"(", "type", "fifo", ")"}))),
               ContainsSubstring("type 'fifo'"));
    auto dirty = good;
    dirty[good.find("1234567") + 7] = 'x';
    CHECK_THAT(complaint(dirty), ContainsSubstring("padding"));
    CHECK_THAT(complaint(""), ContainsSubstring("too early"));
}

TEST_CASE("a NAR that claims huge sizes costs no memory") {
    const auto head = nar(tokens({"(", "type", "regular", "contents"}));
    CHECK_THAT(complaint(head + std::string(8, '\xff')), ContainsSubstring("larger than"));
    CHECK_THAT(complaint(head + std::string("\0\0\0\0\x0f\0\0\0", 8)),
               ContainsSubstring("too early"));
    CHECK_THAT(complaint(std::string(8, '\xff')), ContainsSubstring("keyword"));
    CHECK_THAT(complaint(nar(file(std::string(1000, 'x'))), {.bytes = 512}),
               ContainsSubstring("larger than 512"));
    std::string deep = file("x");
    for (int i = 0; i < 200; ++i) {
        deep = directory(entry("d", deep));
    }
    CHECK_THAT(complaint(nar(deep)), ContainsSubstring("deeper than 128"));
    CHECK_THAT(complaint(nar(directory(entry("a", file("")) + entry("b", file("")))), {.nodes = 2}),
               ContainsSubstring("more than 2 files"));
}

TEST_CASE("a NAR that was cut or changed in one byte never reads as the same one") {
    const auto good = nar(directory(entry("a", file("12345")) + entry("b", link("x"))));
    for (std::size_t n = 0; n < good.size(); ++n) {
        CHECK_FALSE(complaint(good.substr(0, n)).empty());
        auto changed = good;
        changed[n] = static_cast<char>(changed[n] ^ 1);
        try {
            const auto again = echo(changed);
            CHECK(again == changed); // other content, as canonical as the first
        } catch (const sky::Error& e) {
            CHECK(e.code() == sky::ExitCode::kData);
        }
    }
}

TEST_CASE("random trees survive restore and dump") {
    std::mt19937 random(3); // NOLINT(cert-msc51-cpp): the same trees in every run
    const std::function<std::string(int)> node = [&](int depth) -> std::string {
        const auto kind = random() % 4;
        if (kind == 0) {
            return link(std::string(1 + random() % 20, 'l'));
        }
        if (kind == 1 || depth == 0) {
            return file(std::string(random() % 40, 'f'));
        }
        std::set<std::string> names;
        for (auto n = random() % 5; n > 0; --n) {
            names.insert(std::string(1 + random() % 9, static_cast<char>(1 + random() % 46)));
        }
        names.erase(".");
        names.erase("..");
        std::string entries;
        for (const auto& name : names) {
            entries += entry(name, node(depth - 1));
        }
        return directory(entries);
    };
    const Scratch scratch;
    for (int i = 0; i < 100; ++i) {
        const auto text = nar(node(4));
        const auto name = std::to_string(i);
        restore(scratch.path, name, text);
        CHECK(dump(scratch.path / name) == text);
    }
}

TEST_CASE("nar_dump refuses what no NAR can hold") {
    const Scratch scratch;
    REQUIRE(::mkfifo((scratch.path / "fifo").c_str(), 0600) == 0);
    CHECK_THROWS_AS(dump(scratch.path), sky::Error);
}

TEST_CASE("zstd streams give back what went in") {
    std::mt19937 random(7); // NOLINT(cert-msc51-cpp): the same bytes in every run
    for (const std::size_t size : {0, 1, 8, 65535, 65536, 1000000}) {
        std::string plain(size, '\0');
        for (auto& c : plain) {
            c = static_cast<char>(random() & 7U);
        }
        std::string packed;
        sky::ZstdWriter writer([&](std::string_view data) { packed += data; });
        writer.write(std::string_view(plain).substr(0, size / 2));
        writer.write(std::string_view(plain).substr(size / 2));
        writer.finish();
        const auto unpack = [](std::string_view text) {
            std::string out;
            std::string buffer(1000, '\0');
            const auto source = sky::zstd_source(sky::string_source(text));
            for (auto n = source(buffer.data(), buffer.size()); n > 0;
                 n = source(buffer.data(), buffer.size())) {
                out.append(buffer, 0, n);
            }
            return out;
        };
        CHECK(unpack(packed) == plain);
        CHECK_THROWS_AS(unpack(packed.substr(0, packed.size() - 1)), sky::Error);
        CHECK_THROWS_AS(unpack(packed + "x"), sky::Error);
        CHECK_THROWS_AS(unpack(""), sky::Error);
    }
}
