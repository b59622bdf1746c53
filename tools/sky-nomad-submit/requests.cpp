// SPDX-License-Identifier: MIT
#include <sky-nomad-submit/requests.hpp>

#include <sky/error.hpp>

namespace sky::submit {
namespace {

constexpr std::size_t kBranchesMost = 1000;

} // namespace

void check_version(Fields& fields) {
    static_cast<void>(fields.integer("v", 1, 1));
}

Branches branches_of(Fields& fields) {
    Branches branches;
    fields.each_member("branches",
                       [&](const std::string& name, const Json& rev, const std::string& path) {
                           const std::string text = string_of(rev, path);
                           if (!Revision::valid(text) || branches.size() == kBranchesMost) {
                               fail(ExitCode::kData, "{}: expected a revision, at most {} of them",
                                    path, kBranchesMost);
                           }
                           branches.emplace(name, Revision::parse(text));
                       });
    return branches;
}

} // namespace sky::submit
