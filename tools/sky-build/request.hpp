// SPDX-License-Identifier: MIT
#pragma once

#include <sky/exit.hpp>
#include <sky/json.hpp>
#include <sky/name.hpp>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sky::build {

/// One machine of a push: a line of the pipe.
struct Request {
    Json object; ///< as it came, unknown keys too; our fields are added to it
    Repo repo;
    Machine machine;
    Revision rev;
    BuildId build;
    std::optional<std::string> tree = std::nullopt; ///< of rev, where the caller has looked
    bool check = false; ///< the cache may be damaged: it is looked at byte for byte
    bool moves = false; ///< its branch was there before: what is remembered of it may be relied on
};

/// What went wrong with one machine: the "error" of its object.
struct Failure {
    std::string stage; ///< "eval", "build"
    ExitCode code = ExitCode::kData;
    std::string text; ///< printable ASCII, at most 60 characters
};

/// One line of stdin: a request, or nothing for an object that carries an error and passes.
/// Throws Error(kData) naming the key.
[[nodiscard]] std::optional<Request> parse_request(const Json& object);

/// The object that a machine named on the command line stands for.
[[nodiscard]] Request make_request(const Repo& repo, const Machine& machine, const Revision& rev,
                                   const BuildId& build);

/// "infra" or "infra.git". Throws Error(kData).
[[nodiscard]] Repo parse_repo_argument(std::string_view text);

/// The request's object with the outcome in it. `known`: from memory, the cache was not asked.
[[nodiscard]] Json with_deployment(const Request& request, const std::string& deployment,
                                   bool known = false);
[[nodiscard]] Json with_failure(const Request& request, const Failure& failure);

} // namespace sky::build
