// SPDX-License-Identifier: MIT
#include <sky-vm-run/host-setup.hpp>

#include <sky-vm-run/accounts.hpp>
#include <sky-vm-run/host-start.hpp>
#include <sky-vm-run/processes.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/json.hpp>
#include <sky/log.hpp>
#include <sky/process.hpp>
#include <sky/scratch.hpp>
#include <sky/state.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace sky::vm {
namespace {

using Path = std::filesystem::path;
constexpr std::size_t kMostBytes = 1U << 20U;

bool there(const Path& path) {
    std::error_code none;
    return std::filesystem::exists(std::filesystem::symlink_status(path, none));
}

HostFacts look_around() {
    HostFacts facts;
    std::array<char, 256> name{};
    if (::gethostname(name.data(), name.size() - 1) != 0) {
        fail_errno("cannot tell this host's name");
    }
    facts.host = std::string(name.data()).substr(0, std::string(name.data()).find('.'));
    if (!Machine::valid(facts.host)) {
        fail(ExitCode::kConfig,
             "this host's name '{}' is none for Skyflake: a-z 0-9 -, a letter first (hostnamectl "
             "set-hostname)",
             printable(facts.host));
    }
    facts.bin = std::filesystem::read_symlink("/proc/self/exe").parent_path();
    facts.data = facts.bin.parent_path() / "share/skyflake";
    for (const char* program : {"/usr/local/bin/virtiofsd", "/usr/libexec/virtiofsd",
                                "/usr/lib/qemu/virtiofsd", "/usr/bin/virtiofsd"}) {
        if (!facts.virtiofsd && there(program)) {
            facts.virtiofsd = program;
        }
    }
    for (const char* input : {"nixpkgs", "microvm"}) {
        if (const Path path = facts.data / input; there(path)) {
            facts.inputs.emplace(input, path);
        }
    }
    // Data that an earlier host left keeps its id.
    const auto marker = read_file_if_exists("/var/lib/skyflake/storage.json", 4096);
    facts.storage = marker ? Fields(parse_json(*marker, 4096, "storage.json"), "").string("storage")
                           : new_storage_id();
    return facts;
}

/// The configuration, made where there is none.
Config need_config(const Path& file, Steps& steps) {
    if (const auto text = read_file_if_exists(file, 4 * kMostBytes)) {
        return load_config(file.string());
    }
    const HostFacts facts = look_around();
    const std::string text = first_config(facts);
    Config config = parse_config(text, file);
    steps.step(fmt::format("write {}", file.string()), [&] {
        make_directories(file.parent_path(), 0755);
        atomic_write(file, text, {.mode = 0644});
    });
    if (facts.inputs.empty()) {
        log::warn("'{}' names no inputs for tenants' flakes yet (put sources of nixpkgs and "
                  "microvm.nix there, and say so in cell.inputs)",
                  file.string());
    }
    if (!there(State(config).marker())) {
        steps.step(fmt::format("make the storage in {}", config.shared.string()), [&] {
            make_directories(config.shared, 0755);
            atomic_write(State(config).marker(),
                         dump_json({{"v", 1}, {"storage", config.storage}}) + "\n", {.mode = 0644});
        });
    }
    return config;
}

void reload_sshd() {
    if (with_systemd()) {
        run_program("systemctl", {"reload-or-restart", "ssh.service"});
    } else if (const auto text = read_file_if_exists("/run/sshd.pid", 32)) {
        int pid = 0;
        std::from_chars(text->data(), text->data() + text->size(), pid);
        std::error_code none; // what a stop left may name anybody by now
        if (pid > 1 &&
            std::filesystem::read_symlink(fmt::format("/proc/{}/exe", pid), none).stem() ==
                "sshd") {
            ::kill(pid, SIGHUP);
        }
    }
}

/// Has the program that reads `file` judge it, before it counts.
void check_sudo(const Config& config, const HostFile& file) {
    const Path trial = fmt::format("/run/{}-sudoers", config.prefix);
    atomic_write(trial, file.text, {.mode = 0440, .durable = false});
    try {
        run_program("visudo", {"-c", "-q", "-f", trial.string()});
    } catch (const Error&) {
        ::unlink(trial.c_str());
        throw;
    }
    ::unlink(trial.c_str());
}

void write_file(const Config& config, const HostFile& file,
                const std::optional<std::string>& before) {
    if (file.check == HostFile::Check::kSudo) {
        check_sudo(config, file);
    }
    make_directories(file.path.parent_path(), 0755);
    atomic_write(file.path, file.text, {.mode = file.mode});
    if (file.check == HostFile::Check::kSysctl && with_systemd()) {
        run_program("systemctl", {"restart", "systemd-sysctl.service"});
    }
    if (file.check != HostFile::Check::kSshd) {
        return;
    }
    try { // it can be judged only where it stands
        make_directories("/run/sshd", 0755);
        run_program("sshd", {"-t"});
    } catch (const Error&) {
        if (before) {
            atomic_write(file.path, *before, {.mode = file.mode});
        } else {
            ::unlink(file.path.c_str());
        }
        throw;
    }
    reload_sshd();
}

void need_file(const Config& config, const HostFile& file, Steps& steps) {
    const auto before = read_file_if_exists(file.path, kMostBytes);
    if (before == file.text) {
        return;
    }
    if (before && !before->starts_with(kMadeHere)) {
        fail(ExitCode::kConfig, "'{}' is there and was not made by host-setup (move it away)",
             file.path.string());
    }
    steps.step(fmt::format("write {}", file.path.string()),
               [&] { write_file(config, file, before); });
}

void start_units(const HostPlan& plan, bool changed, Steps& steps) {
    if (changed) {
        steps.step("have systemd read its units",
                   [] { run_program("systemctl", {"daemon-reload"}); });
    }
    for (const auto& name : plan.enabled) {
        const auto is = [&](const char* what) {
            return Command("/usr/bin/systemctl")
                       .args({"-q", what, name})
                       .capture("", 4096, std::chrono::minutes(1), true)
                       .exit_code == 0;
        };
        if (!is("is-enabled") || !is("is-active")) {
            steps.step(fmt::format("enable and start {}", name), [&] {
                run_program("systemctl", {"-q", "enable", "--now", name});
            });
        }
    }
}

/// Where there is no systemd: now, and again by whoever boots this machine.
void start_by_hand(const Config& config, Steps& steps) {
    steps.step("make directories and rules (no systemd here: call it again after each boot)", [&] {
        host_start(config, {});
        if (Command(config.tool("sky-net-setup"))
                .args({"--config", config.file.string(), "boundary"})
                .run() != 0) {
            fail(ExitCode::kSystem, "sky-net-setup boundary failed, see above");
        }
        const auto link = keys_link(config);
        make_directories(link.parent_path(), 0755);
        std::error_code none;
        std::filesystem::remove(link, none);
        std::filesystem::create_directory_symlink(config.shared / "authorized_keys", link);
    });
}

int set_up(const Path& file, bool dry_run) {
    Steps steps(dry_run);
    const Config config = need_config(file, steps);
    if (!dry_run) {
        check_storage(config);
    }
    const HostPlan plan = plan_host(config);
    make_accounts(config, plan.group, plan.accounts, steps);
    for (const auto& each : plan.files) {
        need_file(config, each, steps);
    }
    if (with_systemd()) {
        const auto before = steps.count();
        for (const auto& each : plan.units) {
            need_file(config, each, steps);
        }
        start_units(plan, steps.count() != before, steps);
    } else if (!there(keys_link(config))) {
        start_by_hand(config, steps);
    }
    if (steps.count() == 0) {
        log::say("nothing to do: this is a host");
    }
    return 0;
}

bool machines_run(const Config& config) {
    return !processes_of(config.machine_uid_first, config.machine_uid_count).empty();
}

void end_machines(const Config& config, Steps& steps) {
    if (!machines_run(config)) {
        return;
    }
    steps.step("shut down the machines that run here", [&] {
        run_program("systemctl", {"stop", config.prefix + "-vm-*.service"});
        if (machines_run(config)) {
            fail(ExitCode::kBusy, "machines still run here (sky-vm-run list shows them)");
        }
    });
}

void remove_file(const HostFile& file, Steps& steps) {
    const auto text = read_file_if_exists(file.path, kMostBytes);
    if (!text || !text->starts_with(kMadeHere)) {
        return;
    }
    steps.step(fmt::format("remove {}", file.path.string()), [&] {
        ::unlink(file.path.c_str());
        if (file.check == HostFile::Check::kSshd) {
            reload_sshd();
        }
    });
}

void remove_units(const HostPlan& plan, Steps& steps) {
    auto names = plan.enabled;
    names.insert(names.end(), plan.offered.begin(), plan.offered.end());
    for (auto name = names.rbegin(); name != names.rend(); ++name) {
        if (there("/etc/systemd/system" / Path(*name))) {
            steps.step(fmt::format("disable {}", *name), [&] {
                run_program("systemctl", {"-q", "disable", "--now", *name});
            });
        }
    }
    const auto before = steps.count();
    for (const auto& each : plan.units) {
        remove_file(each, steps);
    }
    if (steps.count() != before) {
        steps.step("have systemd read its units",
                   [] { run_program("systemctl", {"daemon-reload"}); });
    }
}

/// A configuration that names another directory must not be its end.
void need_ours(const Config& config) {
    const auto ours = {"storage.json", "vm", "net", "store", "tenants"};
    const auto is_there = [&](const char* name) { return there(config.state / name); };
    if (there(config.state) && !std::filesystem::is_empty(config.state) &&
        std::none_of(ours.begin(), ours.end(), is_there)) {
        fail(ExitCode::kRefused, "'{}' holds nothing of Skyflake's (see 'state' in '{}')",
             config.state.string(), config.file.string());
    }
}

void remove_data(const Config& config, Steps& steps) {
    if (config.shared != config.state) {
        log::warn("'{}' is the cluster's and stays", config.shared.string());
    }
    if (there(config.state)) {
        steps.step(fmt::format("remove all data in {}", config.state.string()), [&] {
            // The marker last: without it what is left could not be undone by the same words.
            for (const auto& entry : std::filesystem::directory_iterator(config.state)) {
                if (entry.path() != State(config).marker()) {
                    remove_tree_whole(entry.path());
                }
            }
            ::unlink((config.state / "storage.json").c_str());
            ::rmdir(config.state.c_str()); // stays where it is a mount
        });
    }
    steps.step(fmt::format("remove {}", config.file.string()), [&] {
        ::unlink(config.file.c_str());
        ::rmdir(config.file.parent_path().c_str());
    });
}

int undo(const Path& file, const HostSetupOptions& options) {
    Steps steps(options.dry_run);
    if (!there(file)) {
        log::say("nothing to do: there is no " + file.string());
        return 0;
    }
    const Config config = load_config(file.string());
    if (options.data) {
        need_ours(config);
    }
    if (!with_systemd() && machines_run(config)) {
        fail(ExitCode::kBusy, "machines run here, and there is no systemd to stop them (stop them "
                              "first; nothing was changed)");
    }
    const HostPlan plan = plan_host(config);
    for (const auto& each : plan.files) { // the door first
        remove_file(each, steps);
    }
    end_machines(config, steps);
    if (with_systemd()) {
        remove_units(plan, steps);
        end_limits(config, steps);
    }
    if (const auto link = keys_link(config); there(link)) {
        steps.step(fmt::format("remove {}", link.parent_path().string()),
                   [&] { remove_tree_whole(link.parent_path()); });
    }
    steps.step("take the network's rules away", [&] {
        if (Command(config.tool("sky-net-setup"))
                .args({"--config", config.file.string(), "boundary", "--off"})
                .run() != 0) {
            fail(ExitCode::kSystem, "sky-net-setup boundary --off failed, see above");
        }
    });
    remove_accounts(plan.group, plan.accounts, steps);
    if (options.data) {
        remove_data(config, steps);
    } else {
        log::say(fmt::format("{} and {} stay (--data removes them too)", config.state.string(),
                             config.file.string()));
    }
    return 0;
}

} // namespace

int host_setup(const Path& config_file, const HostSetupOptions& options) {
    if (::geteuid() != 0) {
        fail(ExitCode::kRefused, "host-setup is for root");
    }
    if (there("/etc/NIXOS")) {
        fail(ExitCode::kRefused, "this is NixOS: its configuration makes it a host "
                                 "(skyflake.enable, see the handbook)");
    }
    if (options.data && !options.undo) {
        throw UsageError("--data goes with --undo (try 'sky-vm-run host-setup --help')");
    }
    return options.undo ? undo(config_file, options) : set_up(config_file, options.dry_run);
}

} // namespace sky::vm
