// SPDX-License-Identifier: MIT
#include <sky/nomad/client.hpp>

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/json.hpp>
#include <sky/log.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>
#include <random>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace sky::nomad {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr std::string_view kTenantPrefix = "sky-";
constexpr milliseconds kFirstPause{100};
constexpr milliseconds kLongestPause{2000};
constexpr seconds kSilence{20};           ///< of a stream in which Nomad's heart beats every second
constexpr milliseconds kAnswer{10'000};   ///< for an answer that Nomad does not hold back
constexpr milliseconds kLeastAnswer{500}; ///< the least that an agent is given
constexpr milliseconds kRefused{5000};    ///< until a refusal counts, see Client::ask

milliseconds jittered(milliseconds pause) {
    thread_local std::minstd_rand random{std::random_device{}()};
    return pause / 2 + milliseconds(static_cast<std::int64_t>(random()) % (pause.count() / 2 + 1));
}

std::uint64_t number(const std::map<std::string, std::string>& headers, const char* name) {
    std::uint64_t out = 0;
    const auto at = headers.find(name);
    if (at != headers.end()) {
        std::from_chars(at->second.data(), at->second.data() + at->second.size(), out);
    }
    return out;
}

/// Nomad's own words in one line.
std::string words(const http::Response& answer) {
    std::string text = answer.body;
    std::replace(text.begin(), text.end(), '\n', ' ');
    return fmt::format("{}: {}", answer.status, printable(text, 300));
}

[[noreturn]] void not_json(const std::string& path) {
    fail(ExitCode::kUnavailable, "nomad answers '{}' with something that is not JSON", path);
}

/// Nomad repeats no keys and knows no cap of ours: what it says is data of the operator's cluster.
Json parsed(const std::string& body, const std::string& path) {
    if (body.empty()) {
        return nullptr;
    }
    Json out = Json::parse(body, nullptr, false);
    if (out.is_discarded()) {
        not_json(path);
    }
    return out;
}

http::Tls tls_of(const NomadConfig& c) {
    return {.ca = c.ca, .cert = c.cert, .key = c.key, .name = c.tls_name};
}

} // namespace

std::string namespace_of(const Tenant& tenant) {
    return std::string(kTenantPrefix) + tenant.str();
}

std::optional<Tenant> tenant_of_namespace(std::string_view name) {
    if (!name.starts_with(kTenantPrefix) || !Tenant::valid(name.substr(kTenantPrefix.size()))) {
        return std::nullopt;
    }
    return Tenant::parse(name.substr(kTenantPrefix.size()));
}

std::string read_token(const std::filesystem::path& file) {
    try {
        const Fd fd = open_file(file, O_RDONLY | O_NOFOLLOW);
        struct stat info {};
        if (::fstat(fd.get(), &info) != 0) {
            fail_errno("cannot stat '{}'", file.string());
        }
        const bool ours = info.st_uid == ::geteuid() || info.st_uid == 0;
        if (!S_ISREG(info.st_mode) || !ours || (info.st_mode & 077U) != 0) {
            fail(ExitCode::kConfig,
                 "'{}' must be a file that nobody but its owner may read (chmod 0400)",
                 file.string());
        }
        std::string token = read_all(fd.get(), 4096, file.string());
        while (!token.empty() && (token.back() == '\n' || token.back() == ' ')) {
            token.pop_back();
        }
        const bool plain = std::all_of(token.begin(), token.end(),
                                       [](unsigned char c) { return c > 0x20 && c < 0x7f; });
        if (token.empty() || !plain) {
            fail(ExitCode::kConfig, "'{}' holds no token: one line of printable characters",
                 file.string());
        }
        return token;
    } catch (const SysError& e) {
        throw Error(ExitCode::kConfig, e.what());
    }
}

Trouble trouble_of(long status, std::string_view body) {
    const auto says = [&](std::string_view text) { return body.find(text) != body.npos; };
    if (status == 429 || status == 502 || status == 503) {
        return Trouble::kPassing;
    }
    if (status != 500 && status != 504) {
        return Trouble::kFinal;
    }
    constexpr std::array<std::string_view, 8> kPassing{
        "No cluster leader",      "no servers",
        "No path to region",      "Not ready to serve consistent reads",
        "node is not the leader", "keyring has not been initialized yet",
        "No Path to region",      "failed to get conn:"}; // it knows a leader that is gone
    constexpr std::array<std::string_view, 8> kUnclear{"rpc error: EOF",
                                                       "leadership lost",
                                                       "i/o timeout",
                                                       "timed out enqueuing operation",
                                                       "connection reset",
                                                       "broken pipe",
                                                       "context deadline exceeded",
                                                       "stream closed"};
    const auto any = [&](const auto& list) { return std::any_of(list.begin(), list.end(), says); };
    if (any(kUnclear) || status == 504) {
        return Trouble::kUnclear;
    }
    return any(kPassing) ? Trouble::kPassing : Trouble::kFinal;
}

struct Client::Try {
    std::string method = "GET";
    const std::string& path;
    const Query& query;
    std::optional<std::string> body = std::nullopt;
    std::optional<milliseconds> limit = std::nullopt; ///< nothing: kAnswer, or all our patience
    bool repeat = true;                               ///< after an answer that got lost, too
};

Client::Client(const NomadConfig& config, std::string token, milliseconds patience)
    : config_(config), token_(std::move(token)), patience_(patience), http_(tls_of(config)) {}

std::string Client::url(std::size_t address, const std::string& path, const Query& query) const {
    std::string out =
        config_.addresses.at(address) + "/v1/" + path + "?region=" + http::escaped(config_.region);
    for (const auto& [key, value] : query) {
        out += "&" + key + "=" + http::escaped(value);
    }
    return out;
}

/// Until there is an answer that a further try would not better. A refusal is one if it stays:
/// servers refuse everybody for a moment while they do not know the tokens again, behind a start or
/// a change of leader.
http::Response Client::ask(const Try& what) {
    const auto begun = Clock::now();
    const auto end = begun + patience_;
    const auto refused_end = begun + std::min(patience_, kRefused);
    // Who has little patience can not give all of it to one agent that stands still.
    const auto each = patience_ / static_cast<std::int64_t>(config_.addresses.size());
    const auto limit = patience_ < kAnswer ? std::max(each, kLeastAnswer) : kAnswer;
    milliseconds pause = kFirstPause;
    std::string trouble;
    const std::size_t first = first_.load();
    for (std::size_t round = 0;; ++round) {
        const std::size_t address = (first + round) % config_.addresses.size();
        bool unclear = false;
        try {
            http::Response answer = http_.perform({.method = what.method,
                                                   .url = url(address, what.path, what.query),
                                                   .headers = {"X-Nomad-Token: " + token_},
                                                   .body = what.body,
                                                   .limit = what.limit.value_or(limit)});
            Trouble kind = trouble_of(answer.status, answer.body);
            if (answer.status == 403 && Clock::now() < refused_end) {
                kind = Trouble::kPassing;
            }
            if (kind == Trouble::kFinal) {
                first_.store(address);
                return answer;
            }
            unclear = kind == Trouble::kUnclear;
            trouble = words(answer);
        } catch (const http::Failure& e) {
            unclear = e.sent();
            trouble = e.what();
        }
        if (unclear && !what.repeat) {
            throw AnswerLost(
                ExitCode::kUnavailable,
                fmt::format("nomad: the answer to '{}' got lost: {}", what.path, trouble));
        }
        log::debug("nomad: {} {}: {}", what.method, what.path, trouble);
        const bool all_tried = (round + 1) % config_.addresses.size() == 0;
        if (Clock::now() >= end) {
            fail(ExitCode::kUnavailable, "nomad does not answer at {}: {}",
                 fmt::join(config_.addresses, ", "), trouble);
        }
        if (all_tried) {
            std::this_thread::sleep_for(jittered(pause));
            pause = std::min(pause * 2, kLongestPause);
        }
    }
}

namespace {

/// What is not an answer to work with, as an error.
void expect_good(const http::Response& answer, const std::string& path) {
    if (answer.status == 200) {
        return;
    }
    const auto says = [&](std::string_view text) {
        return answer.body.find(text) != std::string::npos;
    };
    if (answer.status == 403) {
        fail(ExitCode::kConfig, "nomad refuses '{}': {} (see the token's policy)", path,
             words(answer));
    }
    if (answer.status == 404) {
        fail(ExitCode::kRefused, "nomad has no '{}'", path);
    }
    if (answer.status == 409 || says("Enforcing job modify index")) {
        fail(ExitCode::kBusy, "nomad: somebody else changed '{}' meanwhile", path);
    }
    fail(ExitCode::kUnavailable, "nomad: '{}': {}", path, words(answer));
}

} // namespace

Json Client::get(const std::string& path, const Query& query) {
    const auto answer = ask({.path = path, .query = query});
    expect_good(answer, path);
    return parsed(answer.body, path);
}

void Client::each(const std::string& path, const Query& query,
                  const std::vector<std::string_view>& keys,
                  const std::function<void(const Json&)>& f) {
    const auto answer = ask({.path = path, .query = query});
    expect_good(answer, path);
    if (!each_element(answer.body, keys, f)) {
        not_json(path);
    }
}

std::optional<Json> Client::find(const std::string& path, const Query& query) {
    const auto answer = ask({.path = path, .query = query});
    if (answer.status == 404) {
        return std::nullopt;
    }
    expect_good(answer, path);
    return parsed(answer.body, path);
}

Json Client::watch(const std::string& path, const Query& query, std::uint64_t& index,
                   milliseconds wait) {
    Query all = query;
    if (index > 0) {
        all.emplace_back("index", std::to_string(index));
        all.emplace_back("wait", fmt::format("{}ms", std::max<std::int64_t>(1, wait.count())));
    }
    // Nomad adds up to a sixteenth.
    const auto answer = ask({.path = path, .query = all, .limit = kAnswer + wait + wait / 16});
    const auto now = number(answer.headers, "x-nomad-index");
    index = now < index ? 0 : now; // less: another cluster's count, start anew
    if (answer.status == 404) {
        return nullptr;
    }
    expect_good(answer, path);
    return parsed(answer.body, path);
}

Json Client::put(const std::string& path, const Query& query, const Json& body, Again again) {
    const auto answer = ask({.method = "PUT",
                             .path = path,
                             .query = query,
                             .body = dump_json(body),
                             .repeat = again == Again::kSafe});
    expect_good(answer, path);
    return parsed(answer.body, path);
}

Json Client::remove(const std::string& path, const Query& query) {
    const auto answer = ask({.method = "DELETE", .path = path, .query = query});
    if (answer.status == 404 || answer.status == 204) { // a variable's: there is nothing to say
        return nullptr;
    }
    expect_good(answer, path);
    return parsed(answer.body, path);
}

long Client::stream(const std::string& path, const Query& query, const http::Client::Sink& sink) {
    const std::size_t count = config_.addresses.size();
    for (std::size_t tried = 0;; ++tried) {
        try {
            const auto answer = http_.perform({.method = "GET",
                                               .url = url((first_ + tried) % count, path, query),
                                               .headers = {"X-Nomad-Token: " + token_},
                                               .body = std::nullopt,
                                               .limit = milliseconds::zero(),
                                               .quiet = kSilence},
                                              sink);
            if (answer.status != 404) {
                expect_good(answer, path);
            }
            return answer.status;
        } catch (const http::Failure& e) {
            if (e.sent() || tried + 1 == count) {
                throw; // some of it may have been taken
            }
        }
    }
}

http::WebSocket Client::talk(const std::string& path, const Query& query) {
    const std::size_t count = config_.addresses.size();
    for (std::size_t tried = 0;; ++tried) {
        try {
            const auto whole = url((first_ + tried) % count, path, query);
            return {http_.open(whole),
                    whole.substr(whole.find("/v1/")),
                    {"X-Nomad-Token: " + token_},
                    kAnswer};
        } catch (const http::Failure&) {
            if (tried + 1 == count) {
                throw;
            }
        }
    }
}

std::optional<Variable> Client::variable(const std::string& path) {
    const auto found = find("var/" + path, {{"namespace", std::string(kOurNamespace)}});
    if (!found) {
        return std::nullopt;
    }
    return Variable{.json = found->at("Items").at("json").get<std::string>(),
                    .index = found->at("ModifyIndex").get<std::uint64_t>()};
}

std::optional<std::uint64_t> Client::set_variable(const std::string& path, const std::string& json,
                                                  std::uint64_t index) {
    const Query query{{"namespace", std::string(kOurNamespace)}, {"cas", std::to_string(index)}};
    const std::string name = "var/" + path;
    const Json body = {{"Namespace", kOurNamespace}, {"Path", path}, {"Items", {{"json", json}}}};
    // A repeated compare-and-set fails on its own success: what is there then tells.
    const auto answer =
        ask({.method = "PUT", .path = name, .query = query, .body = dump_json(body)});
    if (answer.status == 409) {
        const auto there = variable(path);
        return there && there->index != index && there->json == json ? std::optional(there->index)
                                                                     : std::nullopt;
    }
    expect_good(answer, name);
    return parsed(answer.body, name).at("ModifyIndex").get<std::uint64_t>();
}

std::vector<std::string> Client::variables(const std::string& prefix) {
    std::vector<std::string> out;
    for (const Json& each :
         get("vars", {{"namespace", std::string(kOurNamespace)}, {"prefix", prefix}})) {
        out.push_back(each.at("Path").get<std::string>());
    }
    return out;
}

} // namespace sky::nomad
