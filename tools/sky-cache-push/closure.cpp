// SPDX-License-Identifier: MIT
#include "closure.hpp"

#include <sky/error.hpp>
#include <sky/json.hpp>

#include <nlohmann/json.hpp>
#include <set>
#include <vector>

namespace sky::cache {
namespace {

class ManifestVisitor : public NarVisitor {
  public:
    void directory_begin() override {
        ++depth_;
        wanted_ = false;
    }
    void directory_end() override { --depth_; }
    void entry(std::string_view name) override { wanted_ = depth_ == 1 && name == "manifest.json"; }
    void file_begin(bool /*executable*/, std::uint64_t size) override {
        if (wanted_ && size > kManifestCap) {
            fail(ExitCode::kData, "manifest.json is larger than {} bytes", kManifestCap);
        }
        if (wanted_) {
            text_.emplace();
        }
    }
    void file_data(std::string_view data) override {
        if (wanted_) {
            *text_ += data;
        }
    }
    void file_end() override { wanted_ = false; }
    void symlink(std::string_view /*target*/) override { wanted_ = false; }

    [[nodiscard]] const std::optional<std::string>& text() const noexcept { return text_; }

  private:
    int depth_ = 0;
    bool wanted_ = false;
    std::optional<std::string> text_;
};

} // namespace

Closure collect(const StorePath& top, const Lookup& lookup, std::uint64_t most) {
    Closure closure;
    std::set<StorePath> seen{top};
    std::vector<StorePath> open{top};
    std::uint64_t sum = 0;
    std::size_t references = 0;
    while (!open.empty()) {
        const auto path = std::move(open.back());
        open.pop_back();
        auto info = lookup(path);
        if (!info) {
            fail(ExitCode::kData, "the closure lacks '{}'", path.base().substr(33));
        }
        if (info->nar_size > most - sum) {
            fail(ExitCode::kRefused, "quota: the closure is larger than {} MiB", most >> 20U);
        }
        sum += info->nar_size;
        references += info->references.size();
        for (const auto& reference : info->references) {
            if (seen.insert(reference).second) {
                open.push_back(reference);
            }
        }
        if (seen.size() > kPathsMost || references > kReferencesMost) {
            fail(ExitCode::kData, "the closure has more than {} paths", kPathsMost);
        }
        closure.emplace(path, std::move(*info));
    }
    return closure;
}

std::string manifest_of(const Source& nar) {
    ManifestVisitor visitor;
    nar_parse(nar, visitor);
    if (!visitor.text()) {
        fail(ExitCode::kData, "the deployment has no file manifest.json");
    }
    const auto manifest = parse_json(*visitor.text(), kManifestCap, "manifest.json");
    if (!manifest.is_object()) {
        fail(ExitCode::kData, "manifest.json: expected an object");
    }
    return dump_json(manifest);
}

std::vector<RecordPath> record_paths(const Closure& closure) {
    std::vector<RecordPath> paths;
    paths.reserve(closure.size());
    for (const auto& [path, info] : closure) {
        paths.push_back({path, info.nar_hash, info.nar_size, info.references});
    }
    return paths;
}

} // namespace sky::cache
