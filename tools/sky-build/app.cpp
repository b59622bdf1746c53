// SPDX-License-Identifier: MIT
#include <sky-build/app.hpp>

#include <sky-build/gc.hpp>
#include <sky-build/session.hpp>
#include <sky-build/tree.hpp>
#include <sky/error.hpp>
#include <sky/lines.hpp>
#include <sky/log.hpp>
#include <sky/privilege.hpp>
#include <sky/process.hpp>
#include <sky/state.hpp>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

namespace sky::build {

namespace {

constexpr std::size_t kMostLines = 1000;

struct Options {
    std::string repo;
    std::string rev = "HEAD";
    std::vector<std::string> machines;
    std::string tenant;
    bool dry_run = false;
    bool json = false;
    bool collect = false; ///< the verb gc
};

/// Whose code it is: the uid's, for good; root says --tenant and becomes it.
Tenant become_tenant(const Config& config, const Options& options) {
    if (::geteuid() != 0) {
        auto tenant = config.tenant_of(::geteuid());
        if (!tenant || (!options.tenant.empty() && options.tenant != tenant->str())) {
            fail(ExitCode::kRefused, "uid {} is not {} (ask the operator)", ::geteuid(),
                 options.tenant.empty() ? "a tenant" : "that tenant");
        }
        return *tenant;
    }
    if (options.tenant.empty()) {
        throw UsageError("root has no cell (say whose with --tenant)");
    }
    Tenant tenant = Tenant::parse(options.tenant);
    const uid_t uid = config.tenant(tenant).uid;
    const passwd* entry = ::getpwuid(uid);
    if (entry == nullptr || uid == 0) {
        fail(ExitCode::kConfig, "tenants.{}.uid: no account with this uid", tenant.str());
    }
    drop_to({uid, entry->pw_gid});
    return tenant;
}

std::vector<Request> requests_of_stdin() {
    std::vector<Request> requests;
    LineReader lines(STDIN_FILENO);
    while (const auto line = lines.next()) {
        const Json object = parse_json(*line, std::size_t{1} << 20, "line");
        if (auto request = parse_request(object)) {
            requests.push_back(std::move(*request));
        } else {
            write_line(STDOUT_FILENO, object);
        }
        if (requests.size() > kMostLines) {
            fail(ExitCode::kData, "more than {} machines at once", kMostLines);
        }
    }
    for (const Request& request : requests) {
        if (request.build != requests.front().build) {
            fail(ExitCode::kData, "build: expected the same in every line");
        }
    }
    return requests;
}

std::vector<Request> requests_of_options(const State& state, const Tenant& tenant,
                                         const Options& options) {
    const Repo repo = parse_repo_argument(options.repo);
    const Revision rev = Repository(state.repo(tenant, repo)).resolve(options.rev);
    const BuildId build = new_build_id();
    std::vector<Request> requests;
    for (const std::string& name : options.machines) {
        requests.push_back(make_request(repo, Machine::parse(name), rev, build));
    }
    return requests;
}

/// What would be done, without touching anything: the machines, and what would be read.
int show_plan(const State& state, const Tenant& tenant, const std::vector<Request>& requests,
              bool json) {
    for (const Request& request : requests) {
        const Repository repo(state.repo(tenant, request.repo));
        const std::string tree = repo.tree_of(request.rev);
        const TreeStats stats = repo.read_tree(tree, std::nullopt);
        const MachinePath path{tenant, request.repo, request.machine};
        if (json) {
            write_line(STDOUT_FILENO, {{"machine", path.text()},
                                       {"rev", request.rev.str()},
                                       {"tree", tree},
                                       {"files", stats.entries},
                                       {"bytes", stats.bytes},
                                       {"flake", stats.flake},
                                       {"cell", state.cell(tenant).string()}});
        } else {
            write_all(STDOUT_FILENO,
                      fmt::format("{}: would build {} ({} files, {} bytes{}) in {}\n", path.text(),
                                  request.rev.str(), stats.entries, stats.bytes,
                                  stats.flake ? "" : ", no flake.nix",
                                  state.cell(tenant).string()));
        }
    }
    return code(ExitCode::kOk);
}

/// Each tenant's by a process that becomes the tenant for good.
int collect_all(const Config& config, const GcOptions& gc) {
    int worst = 0;
    for (const auto& [tenant, settings] : config.tenants) {
        const pid_t pid = ::fork(); // no thread has been started yet
        if (pid < 0) {
            fail_errno("cannot fork");
        }
        if (pid == 0) {
            int result = 0;
            try {
                Options options;
                options.tenant = tenant.str();
                collect_garbage(config, become_tenant(config, options), gc);
            } catch (const Error& e) { // one tenant must not hide the others
                log::error("{}", e.what());
                result = code(e.code());
            }
            ::_exit(result);
        }
        worst = std::max(worst, Child(pid, false).wait());
    }
    return worst == 0 ? 0 : code(ExitCode::kSomeFailed);
}

int collect(const Config& config, const Options& options) {
    const GcOptions gc{.dry_run = options.dry_run, .json = options.json};
    if (::geteuid() == 0 && options.tenant.empty()) {
        return collect_all(config, gc);
    }
    collect_garbage(config, become_tenant(config, options), gc);
    return code(ExitCode::kOk);
}

void declare(Cli& cli, Options& options) {
    CLI::App& app = cli.app();
    app.require_subcommand(0, 1);
    app.fallthrough();
    app.add_subcommand("gc", "remove from cells what no machine needs (root: all tenants')")
        ->callback([&options] { options.collect = true; });
    app.add_option("--repo", options.repo, "the repo: infra or infra.git")->type_name("REPO");
    app.add_option("--rev", options.rev, "40 hex digits, HEAD or a branch (default: HEAD)")
        ->type_name("REV");
    app.add_option("--tenant", options.tenant, "for root: whose repo and cell")->type_name("T");
    app.add_flag("-n,--dry-run", options.dry_run, "say what would be done, and leave");
    app.add_flag("--json", options.json, "the plan of --dry-run, or gc's report, as JSON lines");
    app.add_option("machine", options.machines, "machines; without: JSON lines on stdin")
        ->type_name("MACHINE");
    cli.examples("  sky-build --repo infra --rev HEAD www db | sky-cache-push | sky-nomad-submit\n"
                 "  sky-build --repo infra --rev www --dry-run www\n"
                 "  sky-build --tenant alice --repo infra www          (as root)\n"
                 "  sky-build gc --dry-run                             (as root)\n");
}

} // namespace

int run(Cli& cli) {
    Options options;
    declare(cli, options);
    cli.parse();
    if (options.collect) {
        if (!options.machines.empty() || !options.repo.empty()) {
            throw UsageError("gc is about whole cells (a machine of this name: -- gc)");
        }
        check_storage(cli.config());
        ::umask(022);
        return collect(cli.config(), options);
    }
    if (options.machines.empty() != options.repo.empty()) {
        throw UsageError("--repo and the machines go together (without both: lines on stdin)");
    }
    const Config& config = cli.config();
    check_storage(config);
    const Tenant tenant = become_tenant(config, options);
    ::umask(022);
    const State state(config);
    std::vector<Request> requests = options.machines.empty()
                                        ? requests_of_stdin()
                                        : requests_of_options(state, tenant, options);
    if (options.dry_run) {
        return show_plan(state, tenant, requests, options.json);
    }
    if (requests.empty()) {
        return code(ExitCode::kOk);
    }
    return run_session(config, tenant, std::move(requests));
}

} // namespace sky::build
