// SPDX-License-Identifier: MIT
#include "gc.hpp"
#include "push.hpp"

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/state.hpp>

#include <CLI/CLI.hpp>

#include <sys/stat.h>
#include <unistd.h>

namespace {

constexpr const char* kTool = "sky-cache-push";

struct Options {
    std::optional<std::string> tenant;
    bool dry_run = false;
    std::int64_t grace_s = 24 * 3600;
    std::size_t keep = 8;
    bool check = false;
};

int stage(sky::Cli& cli, const Options& options, bool push) {
    const auto& config = cli.config();
    auto caller = sky::cross(config, config.accounts.cache, kTool, push ? "push" : "missing",
                             options.tenant || options.dry_run);
    ::umask(027); // what we make is for the service accounts
    sky::check_storage(config);
    if (caller.tenant && options.tenant) {
        throw sky::Error(sky::ExitCode::kRefused, "--tenant is for root");
    }
    sky::cache::PushContext context{.config = config,
                                    .caller = std::move(caller),
                                    .tenant = options.tenant,
                                    .dry_run = options.dry_run};
    if (push) {
        return sky::cache::push_all(std::move(context), STDIN_FILENO, STDOUT_FILENO);
    }
    sky::cache::missing_all(context, STDIN_FILENO, STDOUT_FILENO);
    return 0;
}

int collect_garbage(sky::Cli& cli, const Options& options) {
    const auto& config = cli.config();
    sky::check_storage(config);
    auto wanted = sky::cache::read_wanted(config); // as root: the records are another account's
    static_cast<void>(sky::cross(config, config.accounts.cache, kTool, "gc"));
    ::umask(027);
    return sky::cache::collect_garbage(config, wanted,
                                       {.tenant = options.tenant,
                                        .grace_s = options.grace_s,
                                        .keep = options.keep,
                                        .check = options.check,
                                        .dry_run = options.dry_run},
                                       STDOUT_FILENO);
}

int body(sky::Cli& cli) {
    Options options;
    auto& app = cli.app();
    cli.examples("  sky-build --repo infra.git --rev HEAD www | sky-cache-push | sky-nomad-submit\n"
                 "  echo '{\"v\":1,\"paths\":[\"/nix/store/...\"]}' | sky-cache-push missing "
                 "--tenant alice\n"
                 "  sky-cache-push gc --dry-run\n");
    app.require_subcommand(0, 1);
    app.fallthrough();
    app.add_option("--tenant", options.tenant, "whose cache (root only)")->type_name("NAME");
    app.add_flag("--dry-run,-n", options.dry_run, "say what would be done, change nothing");
    app.add_subcommand(
        "push", "bring deployments into the cache and record them (default): objects on stdin");
    auto* missing = app.add_subcommand("missing", "say which store paths the cache lacks");
    auto* gc = app.add_subcommand("gc", "remove what no rooted deployment needs (root)");
    gc->add_option("--grace", options.grace_s,
                   "leave alone what is younger (seconds, default one day)")
        ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 32));
    gc->add_option("--keep", options.keep,
                   "deployments kept per machine besides those in use (default 8)")
        ->check(CLI::Range(1, 256));
    gc->add_flag("--check", options.check,
                 "hash every NAR; damaged ones go, and the next push brings them again");
    cli.parse();
    return gc->parsed() ? collect_garbage(cli, options) : stage(cli, options, !missing->parsed());
}

} // namespace

int main(int argc, char** argv) {
    return sky::run_main(argc, argv, kTool,
                         "Bring a deployment into its tenant's signed cache and record it.", body);
}
