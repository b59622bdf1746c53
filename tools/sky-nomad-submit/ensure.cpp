// SPDX-License-Identifier: MIT
#include "sky-nomad-submit/orders.hpp"
#include "sky-nomad-submit/plan.hpp"
#include "sky-nomad-submit/requests.hpp"
#include "sky-nomad-submit/verbs.hpp"

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/registry.hpp>
#include <sky/spec.hpp>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace sky::submit {
namespace {

Order::Kind kind_of(Step::Kind kind) {
    switch (kind) {
    case Step::Kind::kDeploy:
        return Order::Kind::kDeploy;
    case Step::Kind::kResume:
    case Step::Kind::kCheck:
        return Order::Kind::kResume;
    case Step::Kind::kStop:
        return Order::Kind::kSettle;
    case Step::Kind::kForget:
    case Step::Kind::kReport:
        break;
    }
    return Order::Kind::kForget;
}

std::set<MachinePath> paths_of(const Registry& registry) {
    std::set<MachinePath> out;
    for (const auto& [joined, machine] : registry.machines) {
        out.insert(MachinePath::parse_joined(joined));
    }
    return out;
}

std::set<Machine> machines_in(const std::set<MachinePath>& paths, const Tenant& tenant,
                              const Repo& repo) {
    std::set<Machine> out;
    for (const auto& path : paths) {
        if (path.tenant == tenant && path.repo == repo) {
            out.insert(path.machine);
        }
    }
    return out;
}

/// What a plan is about.
struct Contact {
    Tenant tenant;
    Repo repo;
    std::optional<BuildId> session;
    bool dry_run = false;
};

void carry_out(const Desk& desk, Orders& orders, const Contact& about,
               const std::vector<Step>& plan) {
    std::optional<std::vector<MachineState>> seen;
    for (const Step& step : plan) {
        const MachinePath path{about.tenant, about.repo, step.machine};
        if (step.kind == Step::Kind::kCheck) {
            seen = seen ? seen : desk.scheduler.list(about.tenant);
            if (std::any_of(seen->begin(), seen->end(),
                            [&](const MachineState& s) { return s.path == path && s.rests(); })) {
                continue;
            }
        }
        Json object = {{"v", 1}, {"repo", path.repo.str()}, {"machine", path.machine.str()}};
        if (step.kind == Step::Kind::kReport) {
            orders.report(step.machine, object,
                          {.code = code(ExitCode::kSomeFailed),
                           .stage = step.uncached ? "cache" : "start",
                           .text = step.why,
                           .quiet = step.told});
            continue;
        }
        if (step.rev) {
            object["rev"] = step.rev->str();
        }
        orders.add({.kind = kind_of(step.kind),
                    .path = path,
                    .rev = step.rev,
                    .to = std::nullopt,
                    .session = about.session,
                    .dry_run = about.dry_run},
                   object);
    }
}

/// What the scheduler looks after, asked once per tenant.
using Watched = std::map<Tenant, std::set<MachinePath>>;

void ensure_line(const Desk& desk, Orders& orders, Watched& watched, const std::string& text) {
    const Json value = parse_json(text, kSpecBytesMax, "request");
    Fields fields(value, "");
    check_version(fields);
    const Tenant tenant = desk.tenant_of(fields.optional_string("tenant"));
    static_cast<void>(desk.config.tenant(tenant));
    const Repo repo = parse_name<Repo>(fields, "repo");
    RepoView view{.branches = branches_of(fields),
                  .records = {},
                  .registered = {},
                  .watched = {},
                  .session = std::nullopt};
    if (fields.has("session")) {
        view.session = parse_name<BuildId>(fields, "session");
    }
    const bool dry_run = fields.boolean_or("dry_run", false) || desk.dry_run;
    fields.done();
    for (const auto& [path, record] : Records(desk.config.shared).of_repo(tenant, repo)) {
        view.records.emplace(path.machine, record);
    }
    view.registered = machines_in(paths_of(load_registry(desk.config)), tenant, repo);
    if (!view.records.empty()) {
        if (!watched.contains(tenant)) {
            watched.emplace(tenant, desk.scheduler.watched(tenant));
        }
        view.watched = machines_in(watched.at(tenant), tenant, repo);
    }
    carry_out(desk, orders, {tenant, repo, view.session, dry_run}, plan_ensure(view));
}

} // namespace

int ensure(const Desk& desk) {
    Orders orders(desk);
    Watched watched;
    return orders.run(
        STDIN_FILENO, [&](const std::string& line) { ensure_line(desk, orders, watched, line); },
        false);
}

} // namespace sky::submit
