// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <sky-cache-push/closure.hpp>
#include <sky-cache-push/gc.hpp>
#include <sky-cache-push/roots.hpp>
#include <sky/error.hpp>

using namespace sky;
using namespace sky::cache;

namespace {

StorePath path(char digit) {
    return StorePath::parse("/nix/store/0000000000000000000000000000000" + std::string(1, digit) +
                            "-p");
}
Revision rev(char digit) {
    return Revision::parse(std::string(40, digit));
}

Lookup graph(std::map<StorePath, std::vector<StorePath>> edges) {
    return [edges = std::move(edges)](const StorePath& wanted) -> std::optional<NarInfo> {
        const auto at = edges.find(wanted);
        if (at == edges.end()) {
            return std::nullopt;
        }
        return NarInfo{.path = wanted,
                       .compressed = std::nullopt,
                       .nar_size = 100,
                       .references = at->second,
                       .signature = std::nullopt};
    };
}

std::string manifest_in(const std::function<void(NarWriter&)>& write) {
    std::string nar;
    NarWriter writer([&](std::string_view data) { nar += data; });
    write(writer);
    writer.finish();
    return manifest_of(string_source(nar));
}

void add_file(NarWriter& w, std::string_view name, std::string_view text) {
    w.entry(name);
    w.file_begin(false, text.size());
    w.file_data(text);
    w.file_end();
}

} // namespace

TEST_CASE("a closure is everything that is referred to, cycles or not") {
    const auto lookup = graph({{path('1'), {path('1'), path('2')}},
                               {path('2'), {path('3')}},
                               {path('3'), {path('1')}},
                               {path('4'), {}}});
    CHECK(collect(path('1'), lookup, 1000).size() == 3);
    CHECK(collect(path('4'), lookup, 100).size() == 1);
    CHECK_THROWS_WITH(collect(path('1'), lookup, 299), ContainsSubstring("quota"));
    CHECK_THROWS_WITH(collect(path('1'), graph({{path('1'), {path('5')}}}), 1000),
                      ContainsSubstring("lacks 'p'"));
}

TEST_CASE("a closure without end is refused") {
    std::uint64_t calls = 0;
    const Lookup endless = [&](const StorePath& wanted) {
        const auto next = fmt::format("/nix/store/{:032}-p", ++calls);
        return std::optional(NarInfo{.path = wanted,
                                     .compressed = std::nullopt,
                                     .references = {StorePath::parse(next)},
                                     .signature = std::nullopt});
    };
    CHECK_THROWS_WITH(collect(path('0'), endless, 1000),
                      ContainsSubstring("more than 50000 paths"));
}

TEST_CASE("the manifest is the regular file at the top, and nothing else") {
    CHECK(manifest_in([](NarWriter& w) {
              w.directory_begin();
              w.entry("a");
              w.directory_begin();
              add_file(w, "manifest.json", "{\"wrong\":1}");
              w.directory_end();
              add_file(w, "manifest.json", "{ \"b\": 1, \"a\": [2.5] }");
              add_file(w, "z", "{}");
              w.directory_end();
          }) == "{\"a\":[2.5],\"b\":1}");
    const auto refused = [](const std::function<void(NarWriter&)>& inside) {
        try {
            static_cast<void>(manifest_in([&](NarWriter& w) {
                w.directory_begin();
                inside(w);
                w.directory_end();
            }));
        } catch (const Error& e) {
            return std::string(e.what());
        }
        return std::string();
    };
    CHECK_THAT(refused([](NarWriter&) {}), ContainsSubstring("no file manifest.json"));
    CHECK_THAT(refused([](NarWriter& w) {
                   w.entry("manifest.json");
                   w.symlink("/etc/passwd");
               }),
               ContainsSubstring("no file manifest.json"));
    CHECK_THAT(refused([](NarWriter& w) {
                   w.entry("manifest.json");
                   w.directory_begin();
                   add_file(w, "manifest.json", "{}");
                   w.directory_end();
               }),
               ContainsSubstring("no file manifest.json"));
    CHECK_THAT(refused([](NarWriter& w) { add_file(w, "manifest.json", "{\"a\":1,\"a\":2}"); }),
               ContainsSubstring("twice"));
    CHECK_THAT(refused([](NarWriter& w) { add_file(w, "manifest.json", "[]"); }),
               ContainsSubstring("an object"));
    CHECK_THAT(refused([](NarWriter& w) {
                   add_file(w, "manifest.json", std::string(kManifestCap + 1, ' '));
               }),
               ContainsSubstring("larger than"));
    CHECK_THROWS_AS(manifest_in([](NarWriter& w) {
                        w.file_begin(false, 2);
                        w.file_data("{}");
                        w.file_end();
                    }),
                    Error);
}

TEST_CASE("roots: newest first, one per revision, read as written") {
    Roots roots = with_root({}, {rev('a'), path('1'), 10});
    roots = with_root(roots, {rev('b'), path('2'), 20});
    roots = with_root(roots, {rev('a'), path('3'), 30});
    REQUIRE(roots.size() == 2);
    CHECK(roots[0] == Root{rev('a'), path('3'), 30});
    CHECK(parse_roots(print_roots(roots)) == roots);
    CHECK_THROWS_AS(parse_roots("{}"), Error);
    CHECK_THROWS_WITH(parse_roots("{\"v\":1,\"roots\":[],\"x\":1}"),
                      ContainsSubstring("x: unknown key"));
}

TEST_CASE("what the garbage collector keeps") {
    const Roots roots{{rev('d'), path('4'), 400},
                      {rev('c'), path('3'), 300},
                      {rev('b'), path('2'), 200},
                      {rev('a'), path('1'), 100}};
    const auto kept = [&](const Wanted& wanted, std::size_t keep, std::int64_t grace) {
        std::string text;
        for (const auto& root : roots_to_keep(
                 roots, wanted, {.tenant = std::nullopt, .grace_s = grace, .keep = keep}, 500)) {
            text += root.rev.str().front();
        }
        return text;
    };
    CHECK(kept({.gone = false, .revs = {rev('d')}}, 2, 0) == "dc");
    CHECK(kept({.gone = false, .revs = {rev('a')}}, 1, 0) ==
          "da"); // pinned or running, however old
    CHECK(kept({.gone = true, .revs = {}}, 3, 0).empty());
    CHECK(kept({.gone = true, .revs = {}}, 3, 250) == "dc"); // pushed just now, not accepted yet
    CHECK(kept({.gone = false, .revs = {}}, 0, 0).empty());
}

TEST_CASE("what a deploy record wants") {
    const auto hex = [](char digit) { return "\"" + std::string(40, digit) + "\""; };
    const auto all = parse_wanted(
        "{\"v\":1,\"rev\":" + hex('a') + ",\"want\":\"running\",\"pin\":{\"rev\":" + hex('b') +
        ",\"why\":\"x\"},\"did\":{\"state\":\"running\",\"rev\":" + hex('c') + "}}");
    CHECK_FALSE(all.gone);
    CHECK(all.revs == std::set<Revision>{rev('a'), rev('b'), rev('c')});
    const auto gone =
        parse_wanted("{\"v\":1,\"rev\":null,\"pin\":null,\"did\":{\"rev\":" + hex('c') + "}}");
    CHECK(gone.gone);
    CHECK(gone.revs == std::set<Revision>{rev('c')});
    CHECK_THROWS_AS(parse_wanted("{\"rev\":7}"), Error);
    CHECK_THROWS_AS(parse_wanted(""), Error);
}
