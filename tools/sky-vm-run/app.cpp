// SPDX-License-Identifier: MIT
#include <sky-vm-run/app.hpp>
#include <sky-vm-run/host-setup.hpp>

#include <sky/privilege.hpp>

#include <CLI/CLI.hpp>

#include <functional>
#include <utility>
#include <vector>

namespace sky::vm {
namespace {

/// Verbs and what they do; run after the whole command line was parsed.
class Verbs {
  public:
    explicit Verbs(Cli& cli) : cli_(cli) {}
    CLI::App* add(CLI::App& parent, const char* name, const char* what,
                  std::function<int()> action) {
        auto* verb = parent.add_subcommand(name, what);
        actions_.emplace_back(verb, std::move(action));
        return verb;
    }
    /// As add(), for root alone: whoever else calls it goes through sudo.
    CLI::App* add_root(const char* name, const char* what, std::function<int()> action) {
        return add(cli_.app(), name, what, [this, name, action = std::move(action)] {
            static_cast<void>(cross(cli_.config(), "root", "sky-vm-run", name));
            return action();
        });
    }
    int run() {
        cli_.parse();
        for (const auto& [verb, action] : actions_) {
            if (verb->parsed()) {
                return action();
            }
        }
        return code(ExitCode::kUsage);
    }

  private:
    Cli& cli_;
    std::vector<std::pair<CLI::App*, std::function<int()>>> actions_;
};

} // namespace

int app(Cli& cli) {
    bool dry_run = false;
    Verbs verbs(cli);
    cli.app().require_subcommand(1);

    auto* storage = cli.app().add_subcommand("storage", "the storage's marker");
    storage->require_subcommand(1);
    auto* init = verbs.add(*storage, "init", "make the marker of a new storage, print it", [&] {
        storage_init(cli.config(), dry_run);
        return 0;
    });
    init->add_flag("--dry-run", dry_run, "change nothing");
    auto* host = verbs.add_root("host-setup", "make the directories of this host's state", [&] {
        host_setup(cli.config(), dry_run);
        return 0;
    });
    host->add_flag("--dry-run", dry_run, "print the directories, change nothing");

    cli.examples("  sky-vm-run storage init\n  sky-vm-run host-setup\n");
    return verbs.run();
}

} // namespace sky::vm
