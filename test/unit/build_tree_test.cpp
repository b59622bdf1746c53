// SPDX-License-Identifier: MIT
#include <catch.hpp>

#include <sky-build/tree.hpp>
#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/scratch.hpp>

#include <fcntl.h>
#include <git2.h>
#include <sys/stat.h>

using namespace sky;
using namespace sky::build;

namespace {

namespace fs = std::filesystem;

/// A bare repo into which objects are written as they are, wrong ones too.
struct Objects {
    fs::path path;
    git_repository* raw = nullptr;

    Objects() {
        git_libgit2_init();
        std::string name = (fs::temp_directory_path() / "sky-tree.XXXXXX").string();
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        path = name;
        REQUIRE(git_repository_init(&raw, (path / "r.git").c_str(), 1) == 0);
    }
    Objects(const Objects&) = delete;
    Objects& operator=(const Objects&) = delete;
    ~Objects() {
        git_repository_free(raw);
        remove_tree(path);
    }

    git_oid object(const std::string& data, git_object_t type) const {
        git_odb* odb = nullptr;
        REQUIRE(git_repository_odb(&odb, raw) == 0);
        git_oid oid{};
        REQUIRE(git_odb_write(&oid, odb, data.data(), data.size(), type) == 0);
        git_odb_free(odb);
        return oid;
    }
    git_oid blob(const std::string& data) const { return object(data, GIT_OBJECT_BLOB); }

    static std::string entry(const std::string& mode, const std::string& name, const git_oid& oid) {
        return mode + " " + name + std::string(1, '\0') +
               std::string(reinterpret_cast<const char*>(oid.id), GIT_OID_RAWSZ);
    }
    std::string tree(const std::string& entries) const {
        return hex(object(entries, GIT_OBJECT_TREE));
    }
    static std::string hex(const git_oid& oid) {
        std::string text(GIT_OID_HEXSZ, '0');
        git_oid_fmt(text.data(), &oid);
        return text;
    }
    Repository open() const { return Repository(path / "r.git"); }
};

} // namespace

TEST_CASE("names that may not be in a tree", "[build][tree]") {
    for (const std::string& bad :
         {std::string(), std::string("."), std::string(".."), std::string(".git"),
          std::string(".GIT"), std::string(".gIt"), std::string("a/b"), std::string("a\0b", 3),
          std::string(256, 'a')}) {
        CHECK(bad_entry_name(bad));
    }
    for (const char* good : {"a", ".gitignore", "...", "-x", " ", "\xff", ".git2"}) {
        CHECK_FALSE(bad_entry_name(good));
    }
}

TEST_CASE("a tree is written as raw blobs", "[build][tree]") {
    const Objects repo;
    const git_oid file = repo.blob("a\r\nb");
    const git_oid target = repo.blob("../../etc/passwd");
    const git_oid sub = repo.object(Objects::entry("100755", "run", file), GIT_OBJECT_TREE);
    const std::string tree = repo.tree(Objects::entry("40000", "dir", sub) +
                                       Objects::entry("100644", "flake.nix", file) +
                                       Objects::entry("120000", "link", target));
    const TreeStats counted = repo.open().read_tree(tree, std::nullopt);
    CHECK(counted.entries == 4);
    CHECK(counted.flake);
    const fs::path out = repo.path / "out";
    fs::create_directory(out);
    const Fd directory = open_file(out, O_RDONLY | O_DIRECTORY);
    static_cast<void>(repo.open().read_tree(tree, directory.get()));
    CHECK(read_file(out / "flake.nix", 100) == "a\r\nb");
    CHECK(fs::read_symlink(out / "link") == "../../etc/passwd");
    struct stat st {};
    REQUIRE(::lstat((out / "dir/run").c_str(), &st) == 0);
    CHECK((st.st_mode & 0111U) != 0);
}

TEST_CASE("a tree that git would not make is refused", "[build][tree]") {
    const Objects repo;
    const git_oid file = repo.blob("x");
    const fs::path out = repo.path / "out";
    fs::create_directory(out);
    const Fd directory = open_file(out, O_RDONLY | O_DIRECTORY);
    const auto refused = [&](const std::string& tree, const std::string& why) {
        CHECK_THROWS_WITH(repo.open().read_tree(tree, std::nullopt), ContainsSubstring(why));
        CHECK_THROWS_WITH(repo.open().read_tree(tree, directory.get()), ContainsSubstring(why));
    };
    refused(repo.tree(Objects::entry("100644", "..", file)), "may not be in a tree");
    refused(repo.tree(Objects::entry("40000", ".Git", file)), "may not be in a tree");
    refused(repo.tree(Objects::entry("100644", "../up", file)), "'/' or a NUL");
    refused(repo.tree(Objects::entry("160000", "sub", file)), "submodule");
    refused(repo.tree(Objects::entry("100600", "odd", file)), "unknown mode");
    refused(repo.tree(Objects::entry("120000", "empty", repo.blob(""))), "bad target");
    refused(repo.tree(Objects::entry("120000", "nul", repo.blob(std::string("a\0b", 3)))),
            "bad target");
    CHECK_FALSE(fs::exists(repo.path / "up"));
}

TEST_CASE("a link is not followed by what comes after it", "[build][tree]") {
    const Objects repo;
    const git_oid target = repo.blob("..");
    const git_oid sub =
        repo.object(Objects::entry("100644", "escaped", repo.blob("x")), GIT_OBJECT_TREE);
    const std::string tree =
        repo.tree(Objects::entry("120000", "pwn", target) + Objects::entry("40000", "pwn", sub));
    const fs::path out = repo.path / "out";
    fs::create_directory(out);
    const Fd directory = open_file(out, O_RDONLY | O_DIRECTORY);
    CHECK_THROWS_AS(repo.open().read_tree(tree, directory.get()), Error);
    CHECK_FALSE(fs::exists(repo.path / "escaped"));
}

TEST_CASE("what a tree may be is limited", "[build][tree]") {
    const Objects repo;
    const git_oid file = repo.blob(std::string(1000, 'x'));
    std::string entries;
    for (char c = 'a'; c < 'f'; ++c) {
        entries += Objects::entry("100644", std::string(1, c), file);
    }
    git_oid deep = repo.object(entries, GIT_OBJECT_TREE);
    CHECK_THROWS_WITH(repo.open().read_tree(Objects::hex(deep), std::nullopt, {4, 10, 1U << 20}),
                      ContainsSubstring("more than 4 entries"));
    CHECK_THROWS_WITH(repo.open().read_tree(Objects::hex(deep), std::nullopt, {100, 10, 2000}),
                      ContainsSubstring("larger than"));
    for (int i = 0; i < 5; ++i) {
        deep = repo.object(Objects::entry("40000", "d", deep), GIT_OBJECT_TREE);
    }
    CHECK_THROWS_WITH(repo.open().read_tree(Objects::hex(deep), std::nullopt, {100, 3, 1U << 20}),
                      ContainsSubstring("deeper than 3"));
    CHECK(repo.open().read_tree(Objects::hex(deep), std::nullopt, {100, 5, 1U << 20}).entries ==
          10);
}

TEST_CASE("a revision is an id, HEAD or a branch, looked up exactly", "[build][tree]") {
    const Objects repo;
    const std::string tree = repo.tree(Objects::entry("100644", "flake.nix", repo.blob("x")));
    const git_oid commit =
        repo.object("tree " + tree + "\nauthor a <a@b> 0 +0000\ncommitter a <a@b> 0 +0000\n\nx\n",
                    GIT_OBJECT_COMMIT);
    git_reference* ref = nullptr;
    REQUIRE(git_reference_create(&ref, repo.raw, "refs/heads/www", &commit, 0, nullptr) == 0);
    git_reference_free(ref);
    const Repository opened = repo.open();
    CHECK(opened.resolve("www").str() == Objects::hex(commit));
    CHECK(opened.resolve(Objects::hex(commit)).str() == Objects::hex(commit));
    CHECK(opened.tree_of(Revision::parse(Objects::hex(commit))) == tree);
    CHECK_THROWS_AS(opened.tree_of(Revision::parse(tree)), Error);
    for (const char* bad :
         {"", "ww", "www^", "www~0", "HEAD^{tree}", "@", ":/x", "../heads/www", "refs/heads/www",
          "www@{0}", "0000000000000000000000000000000000000000"}) {
        CHECK_THROWS_AS(opened.resolve(bad), Error);
    }
    CHECK_THROWS_WITH(Repository(repo.path / "none.git"), ContainsSubstring("no repo"));
}
