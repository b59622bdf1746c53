// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <sky/error.hpp>
#include <sky/hash.hpp>
#include <sky/narinfo.hpp>
#include <sky/signature.hpp>

using namespace sky;

namespace {

const std::string kCache =
    "StorePath: /nix/store/00000000000000000000000000000001-a\n"
    "URL: nar/1ff1arc23kih0z1a6pwslfrkfp0a8a5mpiavmcfa00zgssfn3i63.nar.zst\n"
    "Compression: zstd\n"
    "FileHash: sha256:1ff1arc23kih0z1a6pwslfrkfp0a8a5mpiavmcfa00zgssfn3i63\n"
    "FileSize: 15129\n"
    "NarHash: sha256:0jd5yx6b0g4cdlpmfpvrkh8475dhjh0dmwaa7b9azx9s0ma8gkr1\n"
    "NarSize: 36224\n"
    "References: 00000000000000000000000000000001-a 00000000000000000000000000000002-b\n";
const std::string kOutbox = "StorePath: /nix/store/00000000000000000000000000000001-a\n"
                            "URL: nar/00000000000000000000000000000001.nar\n"
                            "Compression: none\n"
                            "NarHash: sha256:0jd5yx6b0g4cdlpmfpvrkh8475dhjh0dmwaa7b9azx9s0ma8gkr1\n"
                            "NarSize: 36224\n"
                            "References: \n";

std::string replaced(std::string text, const std::string& from, const std::string& to) {
    const auto at = text.find(from);
    REQUIRE(at != std::string::npos);
    return text.replace(at, from.size(), to);
}

std::string complaint(const std::string& text) {
    try {
        static_cast<void>(parse_narinfo(text));
    } catch (const Error& e) {
        CHECK(e.code() == ExitCode::kData);
        return e.what();
    }
    return "";
}

} // namespace

TEST_CASE("a narinfo prints as it was read") {
    for (const auto& text : {kCache, kCache + "Sig: k:AAAA\n", kOutbox}) {
        CHECK(print_narinfo(parse_narinfo(text)) == text);
    }
    const auto info = parse_narinfo(kCache);
    CHECK(info.references.size() == 2);
    CHECK(info.fingerprint() == "1;/nix/store/00000000000000000000000000000001-a;"
                                "sha256:0jd5yx6b0g4cdlpmfpvrkh8475dhjh0dmwaa7b9azx9s0ma8gkr1;36224;"
                                "/nix/store/00000000000000000000000000000001-a,/nix/store/"
                                "00000000000000000000000000000002-b");
}

TEST_CASE("a narinfo has these keys in this order, and nothing else") {
    CHECK_THAT(complaint(""), ContainsSubstring("StorePath: expected here"));
    CHECK_THAT(complaint(kOutbox + "CA: x\n"), ContainsSubstring("'CA': not expected"));
    CHECK_THAT(complaint(kOutbox + "Sig: a\nSig: b\n"), ContainsSubstring("'Sig': not expected"));
    CHECK_THAT(complaint(kOutbox.substr(0, kOutbox.size() - 1)), ContainsSubstring("does not end"));
    CHECK_THAT(complaint(replaced(kOutbox, "none", "xz")), ContainsSubstring("Compression"));
    CHECK_THAT(complaint(replaced(kOutbox, "nar/0", "../nar/0")), ContainsSubstring("URL"));
    CHECK_THAT(complaint(replaced(kOutbox, "URL: nar/", "URL: /etc/")), ContainsSubstring("URL"));
    CHECK_THAT(complaint(replaced(kCache, "nar/1", "nar/0")), ContainsSubstring("URL"));
    CHECK_THAT(complaint(replaced(kOutbox, "/nix/store/", "/nix/store/../")),
               ContainsSubstring("store path"));
    CHECK_THAT(complaint(replaced(kOutbox, "36224", "036224")), ContainsSubstring("NarSize"));
    CHECK_THAT(complaint(replaced(kOutbox, "36224", "-1")), ContainsSubstring("NarSize"));
    CHECK_THAT(complaint(replaced(kOutbox, "36224", "99999999999999999999")),
               ContainsSubstring("NarSize"));
    CHECK_THAT(complaint(replaced(kOutbox, "sha256:", "sha1:")), ContainsSubstring("NAR hash"));
    CHECK_THAT(complaint(replaced(kCache, "1-a 0", "1-a  0")), ContainsSubstring("store path"));
    CHECK_THAT(complaint(replaced(kCache, "2-b", "1-a")),
               ContainsSubstring("not sorted, or twice"));
    CHECK_THAT(complaint(replaced(kCache, "2-b\n", "2-b \n")), ContainsSubstring("References"));
    CHECK_THAT(complaint(std::string(kNarInfoCap + 1, 'x')), ContainsSubstring("larger than"));
}

TEST_CASE("signatures verify, and only as they are") {
    const auto key = SigningKey::generate("skyflake-alice");
    const auto other = SigningKey::generate("skyflake-alice");
    const auto signature = key.sign("text");
    CHECK(verify_signature(key.public_text(), "text", signature));
    CHECK_FALSE(verify_signature(key.public_text(), "text2", signature));
    CHECK_FALSE(verify_signature(other.public_text(), "text", signature));
    CHECK_FALSE(verify_signature(key.public_text(), "text",
                                 "skyflake-bob" + signature.substr(signature.find(':'))));
    CHECK_FALSE(verify_signature(key.public_text(), "text", signature + "A"));
    CHECK_FALSE(verify_signature("", "text", ""));
    CHECK(SigningKey::parse(key.secret_text() + "\n").sign("text") == signature);
    CHECK_THROWS_AS(SigningKey::parse("skyflake-alice:AAAA"), Error);
    CHECK_THROWS_AS(SigningKey::parse(""), Error);
}

TEST_CASE("a key and a signature of nix's own are understood") {
    // nix key generate-secret --key-name t-1; the fingerprint signed by nix store sign (2.8).
    const std::string secret = "t-1:F/O39/O8Lg4qNkaYRigB1DiiXJ5T861gqTW6Q11yUxy0ZN2CmLQHRfy/"
                               "EB9kVYm7SfuN7xILz6MI6brYe7pL1g==";
    const std::string pub = "t-1:tGTdgpi0B0X8vxAfZFWJu0n7je8SC8+jCOm62Hu6S9Y=";
    const std::string signature = "t-1:C915N4X5tQr291N+8HP0NIYxJEn/TDCBuLw+4ygizz4RvxTxPxm8ZQEpsku/"
                                  "gvZ2UxJcSn3/0DstgCfgsVBMBw==";
    const std::string fingerprint = "1;/nix/store/"
                                    "i9pmrzmpshapij2kin22pff6fc2adavx-hello.txt;sha256:"
                                    "04zwf782yjwnh3q6hz5izfd6jyip8kgw6g6yj43fiqhbyhdd0dqw;120;";
    CHECK(SigningKey::parse(secret).public_text() == pub);
    CHECK(SigningKey::parse(secret).sign(fingerprint) == signature);
    CHECK(verify_signature(pub, fingerprint, signature));
}
