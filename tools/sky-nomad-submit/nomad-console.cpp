// SPDX-License-Identifier: MIT
#include <sky-nomad-submit/nomad-console.hpp>

#include <sky/json.hpp>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <sodium.h>

namespace sky::submit {
namespace {

constexpr std::size_t kFrameMost = std::size_t{1} << 20; ///< Nomad's are 64 KiB, in base 64

std::string text_of(const Json& object, const char* key) {
    const auto at = object.find(key);
    return at != object.end() && at->is_string() ? at->get<std::string>() : std::string();
}

/// "alloc/logs/vm.stdout.3": 3.
std::int64_t number_of(const std::string& file) {
    std::int64_t out = -1;
    const auto dot = file.rfind('.');
    if (dot != std::string::npos) {
        std::from_chars(file.data() + dot + 1, file.data() + file.size(), out);
    }
    return out;
}

std::string decoded(const std::string& base64) {
    std::string out(base64.size(), '\0');
    std::size_t size = 0;
    if (::sodium_base642bin(reinterpret_cast<unsigned char*>(out.data()), out.size(), base64.data(),
                            base64.size(), nullptr, &size, nullptr,
                            sodium_base64_VARIANT_ORIGINAL) != 0) {
        size = 0;
    }
    out.resize(size);
    return out;
}

} // namespace

void Console::begin() {
    rest_.clear();
    now_ = -1;
    at_ = 0;
    broken_ = false;
}

/// The frames are flat objects, and no string in them has a brace.
std::string Console::take(std::string_view piece) {
    std::string out;
    rest_ += piece;
    for (auto end = rest_.find('}'); end != std::string::npos && !broken_; end = rest_.find('}')) {
        out += frame(std::string_view(rest_).substr(0, end + 1));
        rest_.erase(0, end + 1);
    }
    broken_ = broken_ || rest_.size() > kFrameMost;
    return out;
}

std::string Console::frame(std::string_view text) {
    const Json value = Json::parse(text, nullptr, false);
    if (!value.is_object()) {
        broken_ = true;
        return "";
    }
    const auto number = number_of(text_of(value, "File"));
    if (number < 0) {
        return ""; // a heartbeat
    }
    if (number != now_) {
        now_ = number;
        at_ = 0;
    }
    std::string data = decoded(text_of(value, "Data"));
    const std::uint64_t end = at_ + data.size();
    if (now_ < file_ || (now_ == file_ && end <= seen_)) {
        data.clear();
    } else if (now_ == file_ && at_ < seen_) {
        data.erase(0, static_cast<std::size_t>(seen_ - at_));
    }
    at_ = end;
    if (now_ > file_ || (now_ == file_ && end > seen_)) {
        file_ = now_;
        seen_ = end;
    }
    return data;
}

} // namespace sky::submit
