// SPDX-License-Identifier: MIT
#include <catch.hpp>

#include <sky-build/nix.hpp>
#include <sky/error.hpp>

using namespace sky;
using namespace sky::build;

namespace {

const std::string kHash = "h0133yj25k8qv97xzh8w3qp10h8jlqcd";
const std::string kSri = "sha256-elSFDeYMdzvqLKiIoe7DDDstexSTXOBao3diu3cWcWY=";
const std::string kNix32 = "sha256:0rki2rvvnqkplddf0p4k2ixjsfqcqgpa32585km3nxqcwq6qam3s";

StoreTree tree(const std::string& name = "source") {
    return {StorePath::parse("/nix/store/" + kHash + "-" + name), parse_sri(kSri)};
}

DeployInput input() {
    return {tree(),        Machine::parse("www"), {7, "0-0", {"02:5f:00:00:00:07"}, 2048},
            tree("guest"), tree("microvm"),       std::nullopt};
}

} // namespace

TEST_CASE("a hash is the same in both of nix's forms", "[build][nix]") {
    CHECK(parse_sri(kSri) == parse_sri(kNix32));
    CHECK(sri(parse_sri(kNix32)) == kSri);
    for (const char* bad : {"", "sha256", "sha256-", "sha256-AAAA",
                            "md5-elSFDeYMdzvqLKiIoe7DDDstexSTXOBao3diu3cWcWY="}) {
        CHECK_THROWS_AS(parse_sri(bad), Error);
    }
    CHECK_THROWS_AS(parse_sri(kSri + "AAAA"), Error);
}

TEST_CASE("nix path-info is read in the forms of 2.8 and 2.26", "[build][nix]") {
    const std::string path = "/nix/store/" + kHash + "-source";
    const std::string rest =
        R"("narHash":")" + kSri + R"(","narSize":328,"references":[")" + path + R"("]})";
    for (const std::string& text : {R"([{"path":")" + path + R"(",)" + rest + "]",
                                    R"({")" + path + R"(":{"ca":null,)" + rest + "}"}) {
        const auto infos = parse_path_info(text);
        REQUIRE(infos.size() == 1);
        CHECK(infos[0].path.str() == path);
        CHECK(infos[0].nar_size == 328);
        CHECK(sri(infos[0].nar_hash) == kSri);
        CHECK(infos[0].references == std::vector<StorePath>{infos[0].path});
    }
}

TEST_CASE("nix path-info of an invalid path is an error", "[build][nix]") {
    const std::string path = "/nix/store/" + kHash + "-source";
    CHECK_THROWS_WITH(parse_path_info(R"([{"path":")" + path + R"(","valid":false}])"),
                      ContainsSubstring("not valid"));
    CHECK_THROWS_WITH(parse_path_info(R"({")" + path + R"(":null})"),
                      ContainsSubstring("not valid"));
    for (const char* bad :
         {"", "3", "[3]", "{\"x\":{\"narHash\":\"y\"}}", "[{\"path\":\"/etc\"}]"}) {
        CHECK_THROWS_AS(parse_path_info(bad), Error);
    }
}

TEST_CASE("what nix is told about a machine is quoted", "[build][nix]") {
    CHECK(nix_string("a\"b\\c${d}") == "\"a\\\"b\\\\c\\${d}\"");
    CHECK(flake_url(tree()) ==
          "path:/nix/store/" + kHash +
              "-source?narHash=sha256-elSFDeYMdzvqLKiIoe7DDDstexSTXOBao3diu3cWcWY%3D");
    const std::string text = input().expression();
    CHECK_THAT(text, ContainsSubstring("machine = \"www\";"));
    CHECK_THAT(text, ContainsSubstring("identity = { index = 7; machineId = \"0-0\"; macs = [ "
                                       "\"02:5f:00:00:00:07\" ]; rootMib = 2048; };"));
    CHECK_THAT(text, ContainsSubstring("customization = null;"));
}

TEST_CASE("the memo's key changes with whatever a deployment depends on", "[build][nix]") {
    const std::string key = input().key();
    CHECK(input().key() == key);
    std::vector<DeployInput> others(7, input());
    others[0].source = tree("other");
    others[1].machine = Machine::parse("db");
    others[2].identity.index = 8;
    others[3].identity.macs.clear();
    others[4].identity.root_mib = 4096;
    others[5].guest = tree("other");
    others[6].customization = tree("custom");
    for (const DeployInput& other : others) {
        CHECK(other.key() != key);
    }
}

TEST_CASE("the line that says what went wrong", "[build][nix]") {
    CHECK(failure_text(1, "error: attribute 'x' missing\n") == "attribute 'x' missing");
    CHECK(failure_text(137, "warning: x\n") == "killed (more memory than the cell has?)");
    CHECK(essential_error("error: attribute 'x' missing\n\n       at /nix/store/y:3:4:\n") ==
          "attribute 'x' missing");
    // 2.26: a trace first, coloured
    CHECK(essential_error("\x1b[31;1merror:\x1b[0m\n       \xe2\x80\xa6 while calling\n\n       "
                          "\x1b[31;1merror:\x1b[0m flaky one is broken\n") ==
          "flaky one is broken");
    // the build that failed, not those that wait for it
    CHECK(essential_error("error: builder for '/nix/store/" + kHash +
                          "-db.drv' failed with exit code 3;\n       last 1 log lines:\n"
                          "error: 1 dependencies of derivation '/nix/store/" +
                          kHash + "-www.drv' failed to build\n") ==
          "builder for 'db.drv' failed with exit code 3");
    CHECK(essential_error("bwrap: no such file\n") == "bwrap: no such file");
    CHECK(essential_error("") == "no reason given");
    CHECK(essential_error("error: " + std::string(500, 'x')).size() <= 60);
    CHECK(essential_error("error: a\x07"
                          "b\xff"
                          "c\n") == "a?b?c");
}

TEST_CASE("no setting of a cell comes from a flake", "[build][nix]") {
    CellConfig cell;
    cell.substituters = {"https://a", "https://b"};
    const std::string text = nix_config(cell);
    for (const char* line :
         {"sandbox = true\n", "sandbox-fallback = false\n", "accept-flake-config = false\n",
          "pure-eval = true\n", "build-users-group =\n", "substituters = https://a https://b\n",
          "trusted-public-keys = \n", "max-jobs = auto\n",
          "sandbox-paths = /bin/sh=/bin/busybox\n"}) {
        CHECK_THAT(text, ContainsSubstring(line));
    }
    cell.jobs = 3;
    CHECK_THAT(nix_config(cell), ContainsSubstring("max-jobs = 3\n"));
}
