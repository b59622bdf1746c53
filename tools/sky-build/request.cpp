// SPDX-License-Identifier: MIT
#include <sky-build/request.hpp>

#include <sky-build/nix.hpp>
#include <sky/error.hpp>

namespace sky::build {

std::optional<Request> parse_request(const Json& object) {
    Fields fields(object, "line");
    static_cast<void>(fields.integer("v", 1, 1));
    if (fields.has("error")) {
        return std::nullopt;
    }
    const auto old = fields.optional_string("old");
    if (old) {
        static_cast<void>(Revision::parse(*old));
    }
    Request request{object, Repo::parse(fields.string("repo")),
                    Machine::parse(fields.string("machine")), Revision::parse(fields.string("rev")),
                    BuildId::parse(fields.string("build"))};
    request.check = fields.boolean_or("check", false);
    request.moves = old.has_value() && !request.check;
    if (const auto tree = fields.optional_string("tree")) {
        request.tree = Revision::parse(*tree).str();
    }
    return request; // no done(): the pipe passes unknown keys on
}

Request make_request(const Repo& repo, const Machine& machine, const Revision& rev,
                     const BuildId& build) {
    Json object{{"v", 1},         {"repo", repo.str()}, {"machine", machine.str()},
                {"old", nullptr}, {"rev", rev.str()},   {"build", build.str()}};
    return {std::move(object), repo, machine, rev, build};
}

Repo parse_repo_argument(std::string_view text) {
    constexpr std::string_view kSuffix = ".git";
    if (text.size() > kSuffix.size() && text.substr(text.size() - kSuffix.size()) == kSuffix) {
        text.remove_suffix(kSuffix.size());
    }
    return Repo::parse(text);
}

Json with_deployment(const Request& request, const std::string& deployment, bool known) {
    Json object = request.object;
    object["deployment"] = deployment;
    if (known) {
        object["known"] = true;
    }
    return object;
}

Json with_failure(const Request& request, const Failure& failure) {
    Json object = request.object;
    object["error"] = {{"stage", failure.stage},
                       {"code", static_cast<int>(failure.code)},
                       {"text", short_text(failure.text, 60)}};
    return object;
}

} // namespace sky::build
