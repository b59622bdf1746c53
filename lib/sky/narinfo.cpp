// SPDX-License-Identifier: MIT
#include <sky/narinfo.hpp>

#include <sky/error.hpp>
#include <sky/name.hpp>

#include <charconv>

namespace sky {
namespace {

constexpr std::uint64_t kSizeMost = std::uint64_t{1} << 50;

/// Takes the lines apart, one "Key: value" after the other.
class Lines {
  public:
    explicit Lines(std::string_view text) : rest_(text) {}

    std::optional<std::string_view> take_if(std::string_view key) {
        if (!rest_.starts_with(key) || !rest_.substr(key.size()).starts_with(": ")) {
            return std::nullopt;
        }
        const auto end = rest_.find('\n');
        if (end == std::string_view::npos) {
            fail(ExitCode::kData, "narinfo: {}: the line does not end", key);
        }
        const auto value = rest_.substr(key.size() + 2, end - key.size() - 2);
        rest_.remove_prefix(end + 1);
        return value;
    }

    std::string_view take(std::string_view key) {
        const auto value = take_if(key);
        if (!value) {
            fail(ExitCode::kData, "narinfo: {}: expected here", key);
        }
        return *value;
    }

    void done() const {
        if (!rest_.empty()) {
            fail(ExitCode::kData, "narinfo: '{}': not expected here",
                 printable(rest_.substr(0, rest_.find(':')), 30));
        }
    }

  private:
    std::string_view rest_;
};

std::uint64_t size_of(std::string_view text, std::string_view key) {
    std::uint64_t value = 0;
    const auto* end = text.data() + text.size();
    const auto [at, error] = std::from_chars(text.data(), end, value);
    const bool canonical = !text.empty() && (text.front() != '0' || text.size() == 1);
    if (error != std::errc{} || at != end || !canonical || value > kSizeMost) {
        fail(ExitCode::kData, "narinfo: {}: expected a size in bytes", key);
    }
    return value;
}

std::vector<StorePath> references_of(std::string_view text) {
    std::vector<StorePath> found;
    while (!text.empty()) {
        const auto space = text.find(' ');
        found.push_back(StorePath::parse_base(text.substr(0, space)));
        if (found.size() > 1 && !(found[found.size() - 2] < found.back())) {
            fail(ExitCode::kData, "narinfo: References: not sorted, or twice");
        }
        if (space == std::string_view::npos) {
            break;
        }
        text.remove_prefix(space + 1);
        if (text.empty()) {
            fail(ExitCode::kData, "narinfo: References: expected a store path");
        }
    }
    return found;
}

} // namespace

std::string NarInfo::url() const {
    return compressed ? "nar/" + nix32(compressed->hash) + ".nar.zst"
                      : "nar/" + path.hash() + ".nar";
}

std::string NarInfo::fingerprint() const {
    auto text = fmt::format("1;{};{};{};", path.str(), nar_hash_text(nar_hash), nar_size);
    for (std::size_t i = 0; i < references.size(); ++i) {
        text += (i == 0 ? "" : ",") + references[i].str();
    }
    return text;
}

NarInfo parse_narinfo(std::string_view text) {
    if (text.size() > kNarInfoCap) {
        fail(ExitCode::kData, "narinfo: larger than {} bytes", kNarInfoCap);
    }
    Lines lines(text);
    NarInfo info{.path = StorePath::parse(lines.take("StorePath")),
                 .compressed = std::nullopt,
                 .references = {},
                 .signature = std::nullopt};
    const auto url = lines.take("URL");
    const auto compression = lines.take("Compression");
    if (compression == "zstd") {
        const auto hash = parse_nar_hash(lines.take("FileHash"));
        info.compressed = NarInfo::Compressed{hash, size_of(lines.take("FileSize"), "FileSize")};
    } else if (compression != "none") {
        fail(ExitCode::kData, "narinfo: Compression: expected none or zstd");
    }
    if (url != info.url()) {
        fail(ExitCode::kData, "narinfo: URL: expected {}", info.url());
    }
    info.nar_hash = parse_nar_hash(lines.take("NarHash"));
    info.nar_size = size_of(lines.take("NarSize"), "NarSize");
    info.references = references_of(lines.take("References"));
    if (const auto signature = lines.take_if("Sig")) {
        info.signature = std::string(*signature);
    }
    lines.done();
    return info;
}

std::string print_narinfo(const NarInfo& info) {
    auto text = fmt::format("StorePath: {}\nURL: {}\nCompression: {}\n", info.path.str(),
                            info.url(), info.compressed ? "zstd" : "none");
    if (info.compressed) {
        text += fmt::format("FileHash: {}\nFileSize: {}\n", nar_hash_text(info.compressed->hash),
                            info.compressed->size);
    }
    text += fmt::format("NarHash: {}\nNarSize: {}\nReferences: ", nar_hash_text(info.nar_hash),
                        info.nar_size);
    for (std::size_t i = 0; i < info.references.size(); ++i) {
        text += (i == 0 ? "" : " ") + info.references[i].base();
    }
    text += '\n';
    if (info.signature) {
        text += "Sig: " + *info.signature + "\n";
    }
    return text;
}

} // namespace sky
