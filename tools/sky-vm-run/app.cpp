// SPDX-License-Identifier: MIT
#include <sky-vm-run/app.hpp>

#include <sky-vm-run/boot.hpp>
#include <sky-vm-run/console.hpp>
#include <sky-vm-run/control.hpp>
#include <sky-vm-run/doctor.hpp>
#include <sky-vm-run/gc.hpp>
#include <sky-vm-run/guard.hpp>
#include <sky-vm-run/host-setup.hpp>
#include <sky-vm-run/host-start.hpp>
#include <sky-vm-run/lease.hpp>
#include <sky-vm-run/qmp.hpp>
#include <sky-vm-run/register.hpp>
#include <sky-vm-run/verify.hpp>
#include <sky-vm-run/volume-verb.hpp>

#include <sky/privilege.hpp>

#include <CLI/CLI.hpp>

#include <functional>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

namespace sky::vm {
namespace {

using Action = std::function<int(const Caller&)>;

/// What options and operands are read into.
struct Words {
    DryRun dry;
    ByNomad nomad = by_nomad(); ///< before the environment is emptied
    GcOptions gc;
    HostSetupOptions setup;
    DoctorOptions doctor;
    HostStartOptions start;
    VerifyOptions verify;
    VolumeOrder volume;
    std::string machine;
    std::string more;
    std::uint64_t from = 0;

    [[nodiscard]] MachinePath path() const { return MachinePath::parse_joined(machine); }
};

/// Verbs and what they do; run after the whole command line was parsed.
class Verbs {
  public:
    Verbs(Cli& cli, Words& words) : cli_(cli), words_(words) {}

    CLI::App* add(CLI::App& parent, const char* name, const char* what,
                  std::function<int()> action) {
        auto* verb = parent.add_subcommand(name, what);
        actions_.emplace_back(verb, std::move(action));
        return verb;
    }
    /// As add(), for root alone: whoever else calls it goes through sudo.
    CLI::App* add_root(const char* name, const char* what, Action action) {
        return add(cli_.app(), name, what, [this, name, action = std::move(action)] {
            return action(cross(cli_.config(), "root", "sky-vm-run", name, words_.dry.on));
        });
    }
    /// For a verb that changes something.
    void can_be_dry(CLI::App* verb) {
        verb->add_flag("--dry-run", words_.dry.on, "print what would be done, change nothing");
    }
    /// For one whose outline is about a machine.
    void can_be_outlined(CLI::App* verb) {
        can_be_dry(verb);
        verb->add_flag("--json", words_.dry.json, "what --dry-run prints as a JSON line");
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
    Words& words_;
    std::vector<std::pair<CLI::App*, std::function<int()>>> actions_;
};

void add_host_verbs(Cli& cli, Verbs& verbs, Words& words) {
    auto* storage = cli.app().add_subcommand("storage", "the storage's marker");
    storage->require_subcommand(1);
    verbs.can_be_dry(verbs.add(*storage, "init", "make the marker of a new storage, print it", [&] {
        storage_init(cli.config(), words.dry.on);
        return 0;
    }));
    auto* setup = verbs.add(cli.app(), "host-setup", "make this Debian server a host", [&] {
        words.setup.dry_run = words.dry.on;
        return host_setup(cli.config_file(), words.setup);
    });
    verbs.can_be_dry(setup);
    setup->add_flag("--undo", words.setup.undo, "take it all back; data stays");
    setup->add_flag("--data", words.setup.data, "with --undo: remove data and configuration too");
    auto* doctor = verbs.add(cli.app(), "doctor", "what this host lacks, and the way out", [&] {
        return doctor_verb(cli.config_file(), words.doctor, STDOUT_FILENO);
    });
    doctor->add_option("--sshd-config", words.doctor.sshd_config, "of an sshd of its own")
        ->type_name("FILE");
    doctor->add_flag("--json", words.doctor.json, "report as JSON lines");
    auto* start = verbs.add_root("host-start", "what boot does: directories, tenants' accounts",
                                 [&](const Caller&) {
                                     words.start.dry_run = words.dry.on;
                                     host_start(cli.config(), words.start);
                                     return 0;
                                 });
    verbs.can_be_dry(start);
    start->add_option("--forget", words.start.forget, "remove the account of one who is no tenant")
        ->type_name("TENANT");
    verbs.add_root("lease", "hold this host's lease, in the foreground (in a cluster)",
                   [&](const Caller&) { return lease_verb(cli.config()); });
    verbs.can_be_dry(verbs.add_root(
        "register", "give machines their place in the registry", [&](const Caller& c) {
            return register_verb(cli.config(), c, STDIN_FILENO, STDOUT_FILENO, words.dry.on);
        }));
    verbs.add_root("registry", "print who was given what, as one JSON object",
                   [&](const Caller&) { return registry_verb(cli.config(), STDOUT_FILENO); });
}

void add_gc(Cli& cli, Verbs& verbs, Words& words) {
    auto* gc = verbs.add_root(
        "gc", "remove store paths, volumes and leftovers that nothing wants any more",
        [&](const Caller&) {
            words.gc.dry = words.dry;
            return gc_verb(cli.config(), words.gc, STDOUT_FILENO);
        });
    gc->add_option("--tenant", words.gc.tenant, "only this one's")->type_name("NAME");
    gc->add_option("--grace", words.gc.grace_s,
                   "leave alone what was used or made later (seconds, default one day)")
        ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 32));
    gc->add_option("--keep", words.gc.keep_s,
                   "how long volumes wait for their branch (seconds, default volumes.keep_s)")
        ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 32));
    verbs.can_be_dry(gc);
    gc->add_flag("--json", words.dry.json, "report as JSON lines, one per tenant");
}

void add_verify(Cli& cli, Verbs& verbs, Words& words) {
    auto* verify = verbs.add_root(
        "verify", "read tenants' store paths and compare them with their records",
        [&](const Caller&) { return verify_verb(cli.config(), words.verify, STDOUT_FILENO); });
    verify->add_option("TENANT", words.verify.tenant, "only this one's");
    verify->add_flag("--repair", words.verify.repair,
                     "put damaged ones aside: the next start fetches them again");
    verify->add_flag("--json", words.verify.json, "report as JSON lines, one per tenant");
}

/// For root, on a machine that does not run: the same for every kind of storage.
void add_volume(Cli& cli, Verbs& verbs, Words& words) {
    auto* volume = cli.app().add_subcommand("volume", "machines' volumes, of any storage class");
    volume->require_subcommand(1);
    const auto root = [&cli] {
        static_cast<void>(cross(cli.config(), "root", "sky-vm-run", "volume", true));
    };
    auto* list = verbs.add(*volume, "list", "what the registry knows, a line each", [&, root] {
        root();
        return volume_list_verb(cli.config(), words.volume.machine, words.dry.json, STDOUT_FILENO);
    });
    list->add_option("MACHINE", words.volume.machine, "TENANT.REPO.MACHINE: only this one's");
    list->add_flag("--json", words.dry.json, "as JSON lines");
    const auto add = [&, root](const char* name, const char* what) {
        auto* verb = verbs.add(*volume, name, what, [&, root, name] {
            root();
            words.volume.verb = name;
            return volume_verb(cli.config(), words.volume, STDIN_FILENO, STDOUT_FILENO);
        });
        verb->add_option("MACHINE", words.volume.machine, "TENANT.REPO.MACHINE")->required();
        verb->add_option("VOLUME", words.volume.name, "its name: root")->required();
        return verb;
    };
    const auto with_snapshot = [&](CLI::App* verb) {
        verb->add_option("SNAPSHOT", words.volume.snapshot, "a name: a-z 0-9 -")->required();
    };
    with_snapshot(add("snapshot", "keep what it holds now under a name"));
    with_snapshot(add("restore", "bring back what it held then"));
    add("export", "all its bytes to stdout");
    add("import", "all its bytes anew from stdin; its snapshots go");
    add("grow", "make it larger")
        ->add_option("MIB", words.volume.size_mib, "its new size in MiB")
        ->required()
        ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 40));
    add("rm", "remove it for good, with its snapshots");
}

void add_machine_verbs(Cli& cli, Verbs& verbs, Words& words) {
    verbs.can_be_outlined(
        verbs.add_root("start", "start the machine of the spec on stdin, follow it until it is up",
                       [&](const Caller&) {
                           return start_verb(cli.config(), STDIN_FILENO, STDOUT_FILENO, words.dry);
                       }));
    verbs.can_be_outlined(
        verbs.add_root("stop", "stop the machine of the request on stdin", [&](const Caller& c) {
            return stop_verb(cli.config(), c, STDIN_FILENO, STDOUT_FILENO, words.dry);
        }));
    verbs.can_be_outlined(
        verbs.add_root("restart", "stop it and start it again", [&](const Caller& c) {
            return restart_verb(cli.config(), c, STDIN_FILENO, STDOUT_FILENO, words.dry);
        }));
    verbs.add_root("list", "a line of JSON per machine", [&](const Caller& c) {
        return list_verb(cli.config(), c, STDIN_FILENO, STDOUT_FILENO);
    });
    verbs.add_root("logs", "the console of a machine", [&](const Caller& c) {
        return logs_verb(cli.config(), c, STDIN_FILENO, STDOUT_FILENO);
    });
}

/// Verbs with a machine as operand; those without a description are ours alone and stay hidden.
void add_inner_verbs(Cli& cli, Verbs& verbs, Words& words) {
    const auto add = [&](const char* name, const char* what, std::function<int()> action) {
        auto* verb = verbs.add_root(
            name, what, [action = std::move(action)](const Caller&) { return action(); });
        verb->add_option("MACHINE", words.machine, "TENANT.REPO.MACHINE")->required();
        if (*what == '\0') {
            verb->group("");
        }
        return verb;
    };
    verbs.can_be_outlined(add("run", "supervise a machine, in the foreground", [&] {
        return run_verb(cli.config(), words.path(), words.nomad, STDOUT_FILENO, words.dry);
    }));
    verbs.can_be_outlined(add("cleanup", "remove what a dead machine left", [&] {
        return cleanup_verb(cli.config(), words.path(), words.nomad, STDOUT_FILENO, words.dry);
    }));
    add("guard", "", [&]() -> int { guard_verb(cli.config(), words.path()); });
    add("release", "", [&] { return release_verb(cli.config(), words.path(), words.from); })
        ->add_option("GENERATION", words.from)
        ->required();
    add("share", "", [&]() -> int { share_verb(cli.config(), words.path()); });
    add("console", "",
        [&] { return console_verb(cli.config(), words.path(), words.from, STDOUT_FILENO); })
        ->add_option("FROM", words.from)
        ->required();
    add("qmp", "", [&]() -> int { qmp_verb(cli.config(), words.path(), words.more); })
        ->add_option("ASK", words.more)
        ->required();
    add("fetch", "",
        [&] { return fetch_verb(cli.config(), words.path(), Revision::parse(words.more)); })
        ->add_option("REV", words.more)
        ->required();
}

} // namespace

int app(Cli& cli) {
    Words words;
    Verbs verbs(cli, words);
    cli.app().require_subcommand(1);
    add_host_verbs(cli, verbs, words);
    add_gc(cli, verbs, words);
    add_verify(cli, verbs, words);
    add_volume(cli, verbs, words);
    add_machine_verbs(cli, verbs, words);
    add_inner_verbs(cli, verbs, words);
    cli.examples("  sky-vm-run storage init\n"
                 "  sky-vm-run host-setup --dry-run\n"
                 "  sky-vm-run doctor\n"
                 "  sky-vm-run list </dev/null\n"
                 "  sky-vm-run gc --dry-run\n"
                 "  sky-vm-run verify alice --repair\n"
                 "  sky-vm-run volume export alice.infra.www root >root.img\n"
                 "  sky-vm-run start <spec.json\n"
                 "  echo '{\"v\":1,\"tenant\":\"alice\",\"repo\":\"infra\",\"machine\":\"www\"}' |"
                 " sky-vm-run stop\n");
    return verbs.run();
}

} // namespace sky::vm
