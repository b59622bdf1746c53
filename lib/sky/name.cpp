// SPDX-License-Identifier: MIT
#include <sky/name.hpp>

#include <sky/error.hpp>

#include <algorithm>
#include <chrono>
#include <random>

namespace sky {
namespace {

bool lower(char c) {
    return c >= 'a' && c <= 'z';
}
bool digit(char c) {
    return c >= '0' && c <= '9';
}

bool label(std::string_view text, std::size_t most) {
    return !text.empty() && text.size() <= most && lower(text.front()) &&
           std::all_of(text.begin(), text.end(),
                       [](char c) { return lower(c) || digit(c) || c == '-'; });
}

template <typename Kind>
struct Rule;
template <std::size_t most>
struct LabelRule {
    static bool valid(std::string_view text) { return label(text, most); }
    static std::string rule() {
        return fmt::format("use a-z 0-9 -, start with a letter, at most {} characters", most);
    }
};
template <>
struct Rule<kind::Tenant> : LabelRule<31> {
    static constexpr const char* kWhat = "tenant name";
};
template <>
struct Rule<kind::Repo> : LabelRule<31> {
    static constexpr const char* kWhat = "repository name";
};
template <>
struct Rule<kind::Machine> : LabelRule<40> {
    static constexpr const char* kWhat = "machine name";
};
template <>
struct Rule<kind::Volume> : LabelRule<40> {
    static constexpr const char* kWhat = "volume name";
};
template <>
struct Rule<kind::Network> : LabelRule<40> {
    static constexpr const char* kWhat = "network name";
};
template <>
struct Rule<kind::Revision> {
    static constexpr const char* kWhat = "revision";
    static bool valid(std::string_view text) {
        return text.size() == 40 && text.find_first_not_of('0') != std::string_view::npos &&
               std::all_of(text.begin(), text.end(),
                           [](char c) { return digit(c) || (c >= 'a' && c <= 'f'); });
    }
    static std::string rule() { return "40 lower-case hex digits"; }
};
template <>
struct Rule<kind::BuildId> {
    static constexpr const char* kWhat = "build id";
    static bool valid(std::string_view text) {
        return text.size() == 16 && std::all_of(text.begin(), text.end(), [](char c) {
                   return digit(c) || (c >= 'a' && c <= 'v');
               });
    }
    static std::string rule() { return "16 characters of 0-9 a-v"; }
};

} // namespace

template <typename Kind>
bool Name<Kind>::valid(std::string_view text) noexcept {
    return Rule<Kind>::valid(text);
}

template <typename Kind>
Name<Kind> Name<Kind>::parse(std::string_view text) {
    if (!valid(text)) {
        fail(ExitCode::kData, "{} '{}' not allowed ({})", Rule<Kind>::kWhat, printable(text, 40),
             Rule<Kind>::rule());
    }
    return Name(std::string(text));
}

template class Name<kind::Tenant>;
template class Name<kind::Repo>;
template class Name<kind::Machine>;
template class Name<kind::Volume>;
template class Name<kind::Network>;
template class Name<kind::Revision>;
template class Name<kind::BuildId>;

std::string MachinePath::text() const {
    return tenant.str() + "/" + repo.str() + "/" + machine.str();
}

std::string MachinePath::joined() const {
    return tenant.str() + "." + repo.str() + "." + machine.str();
}

MachinePath MachinePath::parse_joined(std::string_view text) {
    const auto first = text.find('.');
    const auto second = first == std::string_view::npos ? first : text.find('.', first + 1);
    if (second == std::string_view::npos) {
        fail(ExitCode::kData, "machine '{}' not allowed (write TENANT.REPO.MACHINE)",
             printable(text));
    }
    return {Tenant::parse(text.substr(0, first)),
            Repo::parse(text.substr(first + 1, second - first - 1)),
            Machine::parse(text.substr(second + 1))};
}

BuildId new_build_id() {
    constexpr std::string_view kDigits = "0123456789abcdefghijklmnopqrstuv";
    using namespace std::chrono;
    const auto now = duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
    // 16 digits of 5 bits: 48 bits of time, 32 of chance.
    std::random_device random;
    __extension__ unsigned __int128 value = static_cast<unsigned __int128>(now) & 0xffffffffffffU;
    value = (value << 32U) | random();
    std::string text(16, '0');
    for (auto at = text.rbegin(); at != text.rend(); ++at) {
        *at = kDigits[static_cast<std::size_t>(value & 31U)];
        value >>= 5U;
    }
    return BuildId::parse(text);
}

std::string printable(std::string_view text, std::size_t most) {
    std::string out(text.substr(0, most));
    std::replace_if(
        out.begin(), out.end(), [](char c) { return c < 0x20 || c > 0x7e; }, '?');
    return text.size() > most ? out + "..." : out;
}

} // namespace sky
