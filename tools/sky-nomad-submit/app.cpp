// SPDX-License-Identifier: MIT
#include <sky-nomad-submit/app.hpp>

#include "sky-nomad-submit/drain.hpp"
#include "sky-nomad-submit/reconcile.hpp"
#include "sky-nomad-submit/tenant.hpp"
#include "sky-nomad-submit/usage.hpp"
#include "sky-nomad-submit/verbs.hpp"

#include <sky/error.hpp>
#include <sky/state.hpp>

#include <CLI/CLI.hpp>

#include <array>
#include <utility>

namespace sky::submit {
namespace {

constexpr const char* kTool = "sky-nomad-submit";

constexpr std::array<std::pair<const char*, const char*>, 10> kVerbs{{
    {"submit", "start what each object on stdin says (the default)"},
    {"identity", "what is to go into an evaluation: index, machine id, MACs"},
    {"ensure", "compare branches with records, finish what is missing"},
    {"status", "branches, records and what runs, joined"},
    {"stop", "stop a machine until the next push of it"},
    {"restart", "restart a machine"},
    {"redeploy", "start the branch's revision as if it had been pushed"},
    {"rollback", "go back to an earlier revision that ran"},
    {"logs", "console of a machine"},
    {"connect", "stdin and stdout to a port of a machine"},
}};

constexpr const char* kExamples =
    "  sky-build --repo infra --rev HEAD www | sky-cache-push | sky-nomad-submit\n"
    "  echo '{\"v\":1,\"repo\":\"infra\",\"branches\":{\"www\":\"...\"}}' | sky-nomad-submit "
    "status\n"
    "  sky-nomad-submit status --all                 # root: every machine of this host\n"
    "  sky-nomad-submit reconcile --dry-run          # root: what would be started, stopped\n"
    "  NOMAD_TOKEN=... sky-nomad-submit drain n2     # root: machines leave host n2\n"
    "\n"
    "Requests are JSON lines on stdin, answers JSON lines on stdout. Root names the tenant, in\n"
    "each request (\"tenant\") or with --tenant.\n"
    "\n"
    "Exit status: 0 all well, 1 some machine failed, 65 bad request, 69 scheduler away,\n"
    "75 busy, 77 refused or missing, 78 configuration.\n";

struct Options {
    std::optional<std::string> tenant;
    bool json = false;
    bool dry_run = false;
    bool all = false;
    bool watch = false;
    std::optional<std::string> since = {};
    std::optional<std::string> until = {};
    std::string host = {};       ///< to be drained
    std::int64_t deadline = 600; ///< seconds, of a drain
    std::string added = {};      ///< tenant

    /// One that sudo's fixed command line would lose.
    [[nodiscard]] bool changes_the_verb() const { return tenant || dry_run || all || watch; }
};

/// What is root's: about hosts and tenants, not about machines.
void declare_operators_verbs(CLI::App& app, std::string& verb, Options& options) {
    app.add_subcommand("reconcile", "root: ensure for each tenant, then records against what runs")
        ->callback([&verb] { verb = "reconcile"; });
    auto* use = app.add_subcommand("usage", "root: vCPU-, memory- and disk-hours of each tenant");
    use->callback([&verb] { verb = "usage"; });
    use->add_option("--since", options.since, "from then on (2026-11-22)")->type_name("TIME");
    use->add_option("--until", options.until, "up to then; now")->type_name("TIME");
    auto* drain = app.add_subcommand("drain", "root: every machine leaves a host, one by one; the "
                                              "operator's token is in NOMAD_TOKEN");
    drain->callback([&verb] { verb = "drain"; });
    drain->add_option("HOST", options.host)->required();
    drain->add_option("--deadline", options.deadline, "then what is left is stopped at once (600)")
        ->type_name("SECONDS")
        ->check(CLI::Range(0, 86400));
    auto* undrain = app.add_subcommand("undrain", "root: a host takes machines again");
    undrain->callback([&verb] { verb = "undrain"; });
    undrain->add_option("HOST", options.host)->required();
    auto* tenants = app.add_subcommand("tenant", "root: a tenant's part of the cluster");
    tenants->require_subcommand(1);
    tenants->add_subcommand("add", "make its namespace; the operator's token is in NOMAD_TOKEN")
        ->callback([&verb] { verb = "tenant"; })
        ->add_option("TENANT", options.added)
        ->required();
}

int run_verb(const Desk& desk, const std::string& verb) {
    if (verb == "identity") {
        return identity(desk);
    }
    if (verb == "submit") {
        return submit(desk);
    }
    if (verb == "ensure") {
        return ensure(desk);
    }
    if (verb == "status") {
        return status(desk);
    }
    if (verb == "logs") {
        return logs(desk);
    }
    if (verb == "connect") {
        return connect(desk);
    }
    return control(desk, verb);
}

} // namespace

int app(Cli& cli) {
    Options options;
    std::string verb = "submit";
    auto& app = cli.app();
    app.add_option("--tenant", options.tenant, "root: on whose behalf")->type_name("TENANT");
    app.add_flag("--json", options.json, "status: JSON lines to a terminal too");
    app.add_flag("--dry-run", options.dry_run, "root: say what would be done, change nothing");
    app.add_flag("--all", options.all, "status, root: every machine of this host");
    app.add_flag("--watch", options.watch, "status, root: again whenever something has changed");
    app.require_subcommand(0, 1);
    app.fallthrough();
    for (const auto& [name, what] : kVerbs) {
        app.add_subcommand(name, what)->callback([&verb, name = name] { verb = name; });
    }
    declare_operators_verbs(app, verb, options);
    cli.examples(kExamples);
    cli.parse();

    const Config& config = cli.config();
    if (verb == "reconcile") {
        return reconcile(config, options.dry_run);
    }
    if (verb == "tenant") {
        return tenant_add(config, options.added);
    }
    if (verb == "drain") {
        return drain_host(config, options.host, std::chrono::seconds(options.deadline),
                          options.dry_run);
    }
    if (verb == "undrain") {
        return undrain_host(config, options.host, options.dry_run);
    }
    const Caller caller =
        cross(config, config.accounts.deploy, kTool, verb, options.changes_the_verb());
    if (verb == "usage") {
        if (!caller.root) {
            fail(ExitCode::kRefused, "usage is for the operator");
        }
        check_storage(config);
        return usage(config, options.since, options.until, options.json);
    }
    const auto scheduler = make_scheduler(config);
    const Desk desk{.config = config,
                    .scheduler = *scheduler,
                    .caller = caller,
                    .tenant = options.tenant,
                    .json = options.json,
                    .dry_run = options.dry_run,
                    .all = options.all,
                    .watch = options.watch};
    check_storage(config);
    return run_verb(desk, verb);
}

} // namespace sky::submit
