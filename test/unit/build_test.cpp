// SPDX-License-Identifier: MIT
#include <catch.hpp>

#include <sky-build/lock-file.hpp>
#include <sky-build/machine.hpp>
#include <sky-build/memo.hpp>
#include <sky-build/outbox.hpp>
#include <sky-build/progress.hpp>
#include <sky-build/request.hpp>
#include <sky-build/watch.hpp>
#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/hash.hpp>
#include <sky/nar.hpp>
#include <sky/narinfo.hpp>
#include <sky/scratch.hpp>

#include <sys/stat.h>

using namespace sky;
using namespace sky::build;

namespace {

namespace fs = std::filesystem;

struct Directory {
    fs::path path;
    Directory() {
        std::string name = (fs::temp_directory_path() / "sky-build.XXXXXX").string();
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        path = name;
    }
    Directory(const Directory&) = delete;
    Directory& operator=(const Directory&) = delete;
    ~Directory() { remove_tree(path); }
};

const std::string kRev(40, 'a');

Json line() {
    return {{"v", 1},         {"repo", "infra"}, {"machine", "www"},
            {"old", nullptr}, {"rev", kRev},     {"build", "01j8000000000000"},
            {"extra", 3}};
}

std::string lock(const std::string& inputs, const std::string& nodes) {
    return R"({"nodes":{"root":{"inputs":{)" + inputs + "}}" + nodes +
           R"(},"root":"root","version":7})";
}
std::string indirect(const std::string& node, const std::string& id) {
    return R"(,")" + node + R"(":{"locked":{},"original":{"type":"indirect","id":")" + id +
           R"("}})";
}

} // namespace

TEST_CASE("a line of the pipe passes through with our fields added", "[build]") {
    const auto request = parse_request(line());
    REQUIRE(request);
    const Json out = with_deployment(*request, "/nix/store/x");
    CHECK(out["extra"] == 3);
    CHECK(out["deployment"] == "/nix/store/x");
    const Json failed =
        with_failure(*request, {"eval", ExitCode::kData, std::string(100, 'x') + "\n"});
    CHECK(failed["error"]["stage"] == "eval");
    CHECK(failed["error"]["code"] == 65);
    CHECK(failed["error"]["text"].get<std::string>().size() <= 60);
    Json other = line();
    other["error"] = {{"stage", "eval"}};
    CHECK_FALSE(parse_request(other));
}

TEST_CASE("a line that is not what the pipe says is an error", "[build]") {
    const auto wrong = [](const char* key, const Json& value) {
        Json object = line();
        object[key] = value;
        CHECK_THROWS_AS(parse_request(object), Error);
    };
    wrong("v", 2);
    wrong("repo", "../x");
    wrong("machine", "-x");
    wrong("rev", "HEAD");
    wrong("rev", nullptr);
    wrong("old", "x");
    wrong("build", "x");
    CHECK(parse_repo_argument("infra.git").str() == "infra");
    CHECK_THROWS_AS(parse_repo_argument(".git"), Error);
    CHECK_THROWS_AS(parse_repo_argument("infra.git.git"), Error);
}

TEST_CASE("which inputs the operator's registry gave", "[build][flake]") {
    const std::set<std::string> known{"nixpkgs"};
    const std::string after = lock(R"("nixpkgs":"nixpkgs")", indirect("nixpkgs", "nixpkgs"));
    CHECK(taken_from_registry("", after, known) == std::vector<std::string>{"nixpkgs"});
    CHECK(taken_from_registry(after, after, known).empty());
    CHECK(taken_from_registry("", "", known).empty());
    // locked before, not indirect, not the operator's, a follows
    CHECK(taken_from_registry(lock(R"("nixpkgs":"n")", indirect("n", "nixpkgs")), after, known)
              .empty());
    CHECK(taken_from_registry(
              "", lock(R"("nixpkgs":"n")", R"(,"n":{"original":{"type":"github"}})"), known)
              .empty());
    CHECK(taken_from_registry("", lock(R"("x":"x")", indirect("x", "utils")), known).empty());
    CHECK(taken_from_registry("", lock(R"("x":["a","b"],"y":"none")", ""), known).empty());
    // under another name
    CHECK(taken_from_registry("", lock(R"("pkgs":"p")", indirect("p", "nixpkgs")), known) ==
          std::vector<std::string>{"pkgs"});
    CHECK_THROWS_AS(taken_from_registry("", "{", known), Error);
}

TEST_CASE("what a lock file says of an input that flake.nix declares", "[build][flake]") {
    CHECK(original_of("github:NixOS/nixpkgs") ==
          Json{{"type", "github"}, {"owner", "NixOS"}, {"repo", "nixpkgs"}});
    CHECK(original_of("github:NixOS/nixpkgs/nixos-25.05")->at("ref") == "nixos-25.05");
    CHECK(original_of("nixpkgs/nixos-25.05") ==
          Json{{"type", "indirect"}, {"id", "nixpkgs"}, {"ref", "nixos-25.05"}});
    CHECK(original_of("https://example.org/a.tar.gz")->at("type") == "tarball");
    const Json attributes{{"type", "github"}, {"owner", "a"}, {"repo", "b"}};
    CHECK(original_of(attributes) == attributes);
    for (const std::string& other :
         {std::string("nixpkgs"), std::string("flake:nixpkgs"), std::string("path:./x"),
          std::string("./x"), "github:a/b/" + kRev, std::string("github:a"),
          std::string("github:a/b?dir=c"), std::string("git+https://example.org/a/b"),
          std::string()}) {
        CHECK_FALSE(original_of(other));
    }
    CHECK_FALSE(original_of({{"type", "github"}, {"rev", kRev}}));
    CHECK_FALSE(original_of({{"follows", "nixpkgs"}}));
    CHECK_FALSE(original_of({{"type", "indirect"}, {"id", "nixpkgs"}}));
    CHECK_FALSE(original_of(nullptr));
}

TEST_CASE("only what is not locked is replaced, and nix can not tell", "[build][flake]") {
    const Json inputs{{"nixpkgs", "github:a/b"}, {"other", "github:a/c"}};
    const std::set<std::string> known{"nixpkgs"};
    const auto replaced = replaceable(inputs, "", known);
    REQUIRE(replaced.size() == 1);
    CHECK(replaceable(inputs, lock(R"("nixpkgs":"n")", indirect("n", "nixpkgs")), known).empty());
    CHECK(replaceable(3, "", known).empty());
    const std::string text = with_originals(
        lock(R"("nixpkgs":"n","other":"o")", indirect("n", "x") + indirect("o", "y")), replaced);
    CHECK_THAT(text,
               ContainsSubstring(
                   R"("n":{"locked":{},"original":{"owner":"a","repo":"b","type":"github"}})"));
    CHECK_THAT(text, ContainsSubstring(R"("id":"y")"));
    CHECK_THROWS_AS(with_originals("[", replaced), Error);
    CHECK_NOTHROW(with_originals("{}", replaced));
    CHECK_NOTHROW(with_originals(R"({"nodes":3,"root":[]})", replaced));
}

TEST_CASE("identities: an answer, a refusal, and nothing at all", "[build][identity]") {
    const std::set<Machine> machines{Machine::parse("a"), Machine::parse("b"), Machine::parse("c")};
    const auto got = parse_identities(
        R"({"v":1,"machine":"a","index":7,"machine_id":"x","macs":["m"],"root_mib":2048})"
        "\n"
        R"({"machine":"b","error":{"stage":"admit","code":77,"text":"9 asked"}})"
        "\n",
        machines);
    CHECK(std::get<Identity>(got.at(Machine::parse("a"))).index == 7);
    CHECK(std::get<Failure>(got.at(Machine::parse("b"))).code == ExitCode::kRefused);
    CHECK(std::get<Failure>(got.at(Machine::parse("b"))).text == "9 asked");
    CHECK(std::get<Failure>(got.at(Machine::parse("c"))).code == ExitCode::kUnavailable);
    CHECK_THROWS_AS(parse_identities("{}\n", machines), Error);
    CHECK_THROWS_AS(parse_identities(R"({"v":1,"machine":"a","index":"7"})", machines), Error);
}

TEST_CASE("identities are remembered by repo and machine, without the operator's number",
          "[build][identity]") {
    const Directory dir;
    const Memo memo(dir.path);
    const Repo infra = Repo::parse("infra");
    const Machine www = Machine::parse("www");
    CHECK_FALSE(recall_identity(memo, infra, www, 2048));
    remember_identity(memo, infra, www, {7, "id", {"m0", "m1"}, 2048});
    const auto got = recall_identity(memo, infra, www, 4096);
    REQUIRE(got);
    CHECK(got->index == 7);
    CHECK(got->machine_id == "id");
    CHECK(got->macs == std::vector<std::string>{"m0", "m1"});
    CHECK(got->root_mib == 4096);
    CHECK_FALSE(recall_identity(memo, infra, Machine::parse("db"), 2048));
    CHECK_FALSE(recall_identity(memo, Repo::parse("other"), www, 2048));
}

TEST_CASE("memory is relied on where the branch was there before, and not to be checked",
          "[build]") {
    Json object = line();
    object["old"] = nullptr;
    CHECK_FALSE(parse_request(object)->moves);
    object["old"] = std::string(40, 'a');
    CHECK(parse_request(object)->moves);
    object["check"] = true;
    CHECK_FALSE(parse_request(object)->moves);
    CHECK(with_deployment(*parse_request(object), "/nix/store/x", true)["known"] == true);
    CHECK_FALSE(with_deployment(*parse_request(object), "/nix/store/x").contains("known"));
}

TEST_CASE("what people see of nix's log", "[build][progress]") {
    const std::string path = "/nix/store/h0133yj25k8qv97xzh8w3qp10h8jlqcd-hello-1.0";
    CHECK(digest_line("building '" + path + ".drv'...") == "building hello-1.0");
    CHECK(digest_line("copying path '" + path + "' from 'https://x'...") == "fetching hello-1.0");
    CHECK(digest_line("these 12 derivations will be built:") == "12 derivations to build");
    CHECK(digest_line("trace: hi\x1b[2J") == "trace: hi");
    CHECK_FALSE(digest_line("warning: you don't have Internet access; disabling"));
    CHECK_FALSE(digest_line("gcc -o x x.c"));
    const Tag tag{1, 2, "www", kRev};
    CHECK(tag.step("evaluating") == "-----> [1/2] www  aaaaaaa  evaluating");
}

TEST_CASE("the end of a log is plain, short and fits a terminal", "[build][progress]") {
    std::string log;
    for (int i = 0; i < 50; ++i) {
        log += "line " + std::to_string(i) + "\n";
    }
    log += "\x1b[31merror\x1b[0m " + std::string(100, 'x') + "\a\n\n";
    const auto lines = error_tail(log, 3);
    REQUIRE(lines.size() == 4);
    CHECK(lines[0] == "       line 48");
    CHECK(lines[2].rfind("       error x", 0) == 0);
    for (const std::string& text : lines) {
        CHECK(text.size() < 72);
        CHECK(text.find_first_of("\x1b\a") == std::string::npos);
    }
}

TEST_CASE("names of machines in advice are names", "[build]") {
    const auto lines = names_advice({"www", "Not\x1b[2J", "db"});
    CHECK(lines[0] == "       machines in this flake: www, db");
    CHECK(lines[1] == "       this would work: git push <remote> HEAD:www");
    CHECK_THAT(names_advice({"X"})[0], ContainsSubstring("no nixosConfigurations"));
    CHECK(names_advice(std::vector<std::string>(100, "abc"))[0].size() < 100);
}

TEST_CASE("a memo is found by its whole key, and a broken one is none", "[build][memo]") {
    const Directory top;
    const Memo memo(top.path);
    CHECK_FALSE(memo.get("a", "key"));
    memo.put("a", "key", {{"x", 1}});
    CHECK(memo.get("a", "key") == Json{{"x", 1}});
    CHECK_FALSE(memo.get("b", "key"));
    CHECK_FALSE(memo.get("a", "key2"));
    for (const auto& file : fs::directory_iterator(top.path)) {
        atomic_write(file.path(), "{", {.durable = false});
    }
    CHECK_FALSE(memo.get("a", "key"));
    memo.put("a", "2", {});
    memo.prune(1);
    CHECK(std::distance(fs::directory_iterator(top.path), {}) == 1);
}

TEST_CASE("a session's directory goes with it, and a dead one's with the next",
          "[build][scratch]") {
    const Directory top;
    const fs::path dead = top.path / "dead/tmp/deep";
    fs::create_directories(dead);
    atomic_write(dead / "file", "x", {.durable = false});
    fs::create_symlink("/", dead / "link");
    fs::permissions(dead, fs::perms::owner_read | fs::perms::owner_exec);
    {
        const Scratch one(top.path);
        CHECK_FALSE(fs::exists(top.path / "dead"));
        const Scratch two(top.path);
        CHECK(fs::exists(one.tmp()));
        CHECK(fs::exists(two.etc()));
    }
    CHECK(fs::is_empty(top.path));
    CHECK(fs::exists("/"));
}

TEST_CASE("the outbox gets what is missing, once, and only what nix built", "[build][outbox]") {
    const Directory top;
    const auto make = [&](const std::string& hash, const std::string& text) {
        const StorePath path = StorePath::parse_base(hash + "-x");
        fs::create_directories(top.path / "store");
        atomic_write(top.path / "store" / path.base(), text, {.mode = 0644, .durable = false});
        Hasher hasher;
        nar_dump(top.path / "store" / path.base(),
                 [&](std::string_view data) { hasher.update(data); });
        const std::uint64_t size = hasher.size();
        return PathInfo{path, hasher.finish(), size, {path}};
    };
    const PathInfo a = make(std::string(32, 'a'), "one");
    const PathInfo b = make(std::string(32, 'b'), "two");
    std::vector<std::vector<std::string>> asked;
    std::vector<std::string> missing{a.path.str(),
                                     "/nix/store/" + std::string(32, 'c') + "-not-ours"};
    const fs::path box = top.path / "box";
    Outbox outbox(box, top.path / "store", [&](const std::vector<std::string>& paths) {
        asked.push_back(paths);
        return missing;
    });
    outbox.leave({a, b});
    const NarInfo info = parse_narinfo(read_file(box / (a.path.hash() + ".narinfo"), 10000));
    CHECK(info.path == a.path);
    CHECK(info.nar_hash == a.nar_hash);
    CHECK(info.nar_size == fs::file_size(box / info.url()));
    CHECK_FALSE(fs::exists(box / (b.path.hash() + ".narinfo")));
    outbox.leave({a, b}); // another machine of the push: a is here, b in the cache
    CHECK(asked == std::vector<std::vector<std::string>>{{a.path.str(), b.path.str()}});
    PathInfo wrong = make(std::string(32, 'd'), "three");
    wrong.nar_hash = a.nar_hash;
    missing = {wrong.path.str()};
    outbox.ask({a, b, wrong});
    CHECK(asked.back() == std::vector<std::string>{wrong.path.str()});
    CHECK_THROWS_WITH(outbox.leave({wrong}), ContainsSubstring("not what nix built"));
    CHECK_FALSE(fs::exists(box / (wrong.path.hash() + ".narinfo")));
    CHECK_FALSE(fs::exists(box / "nar" / (wrong.path.hash() + ".nar")));
    CHECK(asked.size() == 2);
}
