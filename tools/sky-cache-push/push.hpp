// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>
#include <sky/error.hpp>
#include <sky/privilege.hpp>

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace sky::cache {

/// What one `push` works with.
struct PushContext {
    const Config& config;
    Caller caller;
    std::optional<std::string> tenant; ///< root's --tenant
    bool dry_run = false;
    /// Called now and then while it works; throws when nobody waits for the answer any more.
    std::function<void()> still_wanted = [] {};
};

/// Brings one deployment into the cache and writes its record: `object` is one of the pipe's, with
/// "deployment". Adds "cached":true. Throws Error when it can not; the object is then as it was.
void push_one(const PushContext& context, nlohmann::json& object);

/// As push_one, for objects whose deployments are in the cache already: all at once, with one wait
/// for the disk. `refuse` is told of each that can not be, the others get their "cached".
void push_known(const PushContext& context, const std::vector<nlohmann::json*>& objects,
                const std::function<void(nlohmann::json&, const Error&)>& refuse);

/// The stage: objects from `in` to `out`, one line each, those with "error" untouched; what fails
/// gets an "error". The exit code: 0, or 1 if an object has an error.
int push_all(PushContext context, int in, int out);

/// Which of the request's paths the cache lacks: `{"v":1,"paths":[...]}` to
/// `{"v":1,"missing":[...]}`, line by line.
void missing_all(const PushContext& context, int in, int out);

} // namespace sky::cache
