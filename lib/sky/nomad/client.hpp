// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>
#include <sky/error.hpp>
#include <sky/json.hpp>
#include <sky/nomad/http.hpp>
#include <sky/nomad/websocket.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sky::nomad {

/// The namespace of our own variables, and that of a tenant's jobs.
inline constexpr std::string_view kOurNamespace = "skyflake";
[[nodiscard]] std::string namespace_of(const Tenant& tenant);
/// Its tenant, if it is one of ours.
[[nodiscard]] std::optional<Tenant> tenant_of_namespace(std::string_view name);

/// Reads a token: one line in a file that nobody but its owner (this account, or root) may read.
/// Error(kConfig).
[[nodiscard]] std::string read_token(const std::filesystem::path& file);

/// One of our variables; `index` is what a compare-and-set names.
struct Variable {
    std::string json; ///< one object, for a strict parser
    std::uint64_t index = 0;
};

using Query = std::vector<std::pair<std::string, std::string>>;

/// A write whose answer got lost: it may have been done.
class AnswerLost : public Error {
  public:
    using Error::Error;
};

/// Nomad's HTTP API, thinly: tries the configured agents in turn, the one that answered last first,
/// waits out elections and lost connections, and repeats only what repeating can not double. Paths
/// are without "/v1/". Errors: kUnavailable when no agent answers in `patience`, or for what Nomad
/// could not do, kRefused for 403, kBusy for a conflict; each in one sentence. Any number of calls
/// may be under way at once.
class Client {
  public:
    Client(const NomadConfig& config, std::string token,
           std::chrono::milliseconds patience = std::chrono::seconds(20));

    /// 404 is Error(kRefused).
    [[nodiscard]] Json get(const std::string& path, const Query& query = {});
    /// Each object of a list, with but its members `keys`. `f` is called when all has come.
    void each(const std::string& path, const Query& query,
              const std::vector<std::string_view>& keys, const std::function<void(const Json&)>& f);
    /// 404 is nothing.
    [[nodiscard]] std::optional<Json> find(const std::string& path, const Query& query = {});
    /// Blocks until Nomad's index is beyond `index` (0: not at all) or `wait` has passed; neither
    /// proves a change. Sets `index` to what to wait on next. 404 gives null.
    [[nodiscard]] Json watch(const std::string& path, const Query& query, std::uint64_t& index,
                             std::chrono::milliseconds wait);

    /// What the caller knows about a write whose answer got lost.
    enum class Again {
        kSafe,  ///< doing it twice is doing it once
        kNever, ///< AnswerLost instead
    };
    Json put(const std::string& path, const Query& query, const Json& body, Again again);
    /// Null when there is nothing of it, or Nomad says nothing of it.
    Json remove(const std::string& path, const Query& query = {});

    /// Bytes of a path (logs), piece by piece, until the end or until `sink` has enough.
    /// The status: 200, or 404.
    long stream(const std::string& path, const Query& query, const http::Client::Sink& sink);

    /// Talks with a path by WebSocket (exec).
    [[nodiscard]] http::WebSocket talk(const std::string& path, const Query& query);

    /// Our variable `path` ("sky/owner/..."), or nothing.
    [[nodiscard]] std::optional<Variable> variable(const std::string& path);
    /// Compare-and-set: `index` 0 makes it. The new index, or nothing when another was there. When
    /// an answer got lost it is read again: `json` there means that it was us, so give each object
    /// something that nobody else writes.
    [[nodiscard]] std::optional<std::uint64_t>
    set_variable(const std::string& path, const std::string& json, std::uint64_t index);
    /// Paths below `prefix`.
    [[nodiscard]] std::vector<std::string> variables(const std::string& prefix);

  private:
    struct Try; ///< one request until it has an answer
    http::Response ask(const Try& what);
    [[nodiscard]] std::string url(std::size_t address, const std::string& path,
                                  const Query& query) const;

    NomadConfig config_;
    std::string token_;
    std::chrono::milliseconds patience_;
    http::Client http_;
    std::atomic<std::size_t> first_{0}; ///< the address that answered last
};

/// What a 500 of Nomad's tells: whether a second try can help, and whether the first may have been
/// done. Pure; by the words that Nomad 1.8 to 2.0 uses.
enum class Trouble { kFinal, kPassing, kUnclear };
[[nodiscard]] Trouble trouble_of(long status, std::string_view body);

} // namespace sky::nomad
