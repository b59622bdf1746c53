// SPDX-License-Identifier: MIT
#include <sky-vm-run/control.hpp>

#include <sky-vm-run/console.hpp>
#include <sky-vm-run/fetch.hpp>
#include <sky-vm-run/follow.hpp>
#include <sky-vm-run/held-registry.hpp>
#include <sky-vm-run/ownership.hpp>
#include <sky-vm-run/processes.hpp>
#include <sky-vm-run/supervisor.hpp>
#include <sky-vm-run/teardown.hpp>
#include <sky-vm-run/volume.hpp>
#include <sky-vm-run/wish.hpp>

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/json.hpp>
#include <sky/lines.hpp>
#include <sky/lock.hpp>
#include <sky/log.hpp>
#include <sky/registry.hpp>

#include <cstdlib>
#include <ctime>
#include <fcntl.h>
#include <fstream>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace sky::vm {
namespace {

using std::chrono::seconds;

constexpr seconds kSlack{60};           ///< sandbox, network, virtiofsd, a stop before the start
constexpr seconds kCleanupPatience{20}; ///< with Nomad, which waits for this task
constexpr std::int64_t kLogLinesMost = 100000;

std::string me() {
    return fmt::format("sky-vm-run, pid {}", ::getpid());
}

Json read_request(int in) {
    const auto line = LineReader(in, kSpecBytesMax).next(seconds(60));
    if (!line) {
        fail(ExitCode::kData, "no request on stdin");
    }
    return parse_json(*line, kSpecBytesMax, "request");
}

/// The members that name a machine; the others stay for the caller to read.
MachinePath machine_of(Fields& f, const Caller& caller) {
    static_cast<void>(f.integer("v", 1, 1));
    return {caller.tenant_for(f.optional_string("tenant")), parse_name<Repo>(f, "repo"),
            parse_name<sky::Machine>(f, "machine")};
}

/// The limit until a machine that was started is up or has failed.
seconds start_limit(const Spec& spec) {
    return seconds(spec.ready_s) + seconds(spec.stop_s) + kSlack;
}

Spec need_spec(const Vm& vm) {
    auto spec = load<Spec>(vm.files.spec());
    if (auto running = spec ? std::nullopt : load<Running>(vm.files.running())) {
        spec = std::move(running->spec); // damaged: what runs is what shall run
    }
    if (!spec) {
        fail(ExitCode::kRefused, "no machine '{}' on this host", vm.path.text());
    }
    return std::move(*spec);
}

/// Where Nomad runs the machines, nobody else does.
void refuse_in_cluster(const Config& config) {
    if (config.nomad) {
        fail(ExitCode::kRefused,
             "machines of this host are Nomad's to start and stop (use sky-nomad-submit)");
    }
}

/// In a cluster a machine can be forgotten once its owner record says that nothing of it lives.
void need_released(const Vm& vm) {
    const auto store = owner_store(vm.config, vm.path, vm.files.owner(), kCleanupPatience);
    const auto there = store->read();
    if (there && !there->owner.released) {
        fail(ExitCode::kBusy, "machine '{}' was not released by {} yet", vm.path.text(),
             there->owner.host);
    }
}

/// Gives index, uids and addresses back: nothing of the machine lives any more.
void forget(const Vm& vm) {
    change_registry(vm.config, me(), [&](Registry& registry) {
        if (registry.find(vm.path) != nullptr) {
            take_back_volumes(vm.config, vm.path); // before its uid is another's
            forget_machine(registry, vm.path, std::time(nullptr));
        }
    });
}

Outline outline_of_stop(const Vm& vm, bool forgotten) {
    Outline out = outline_stop(glance_at(vm));
    const Registry registry = current_registry(vm.config);
    if (const auto* entry = registry.find(vm.path); forgotten && entry != nullptr) {
        const Outline more = outline_forget(*entry);
        out.insert(out.end(), more.begin(), more.end());
    }
    return out;
}

/// The state of a machine as it is: files say what was meant, /proc what lives.
std::optional<StateLine> state_of(const Vm& vm, const std::vector<Process>& all) {
    auto state = load<StateLine>(vm.files.state());
    if (!state) {
        return std::nullopt;
    }
    const auto running = load<Running>(vm.files.running());
    const Alive alive = running ? alive_among(all, running->uid) : Alive{};
    state->pid = alive.runner ? alive.runner->pid : 0;
    const bool said_up = state->state == "running" || state->state == "ready";
    if (said_up && !alive.guard && supervised(vm)) {
        return state; // its supervisor is about to say what happened
    }
    if (said_up && !alive.guard) {
        state->state = "failed";
        state->why = "it ended while nobody watched (start it again)";
        state->address.clear();
    }
    return state;
}

} // namespace

int start_verb(const Config& config, int in, int out, const DryRun& dry) {
    refuse_in_cluster(config);
    check_storage(config);
    const auto line = LineReader(in, kSpecBytesMax).next(seconds(60));
    if (!line) {
        fail(ExitCode::kData, "no spec on stdin");
    }
    const Spec spec = Spec::parse(*line);
    const Vm vm(config, spec.path);
    const auto entry = vm.entry();
    check_spec(spec, config, entry);
    const Record record = load_record(config.shared, spec.path, spec.rev);
    check_record(spec, record);
    if (dry) {
        Glance now = glance_at(vm);
        now.lacking = lacking_of(record, vm.state.store(spec.path.tenant));
        print_outline(vm.path, outline_start(spec, now, entry.volumes), dry, out);
        return 0;
    }
    const auto serial = wish(vm, true, false, &spec);
    ensure_supervisor(vm);
    return follow(vm, serial, Until::kUp, start_limit(spec), out);
}

int stop_verb(const Config& config, const Caller& caller, int in, int out, const DryRun& dry) {
    check_storage(config);
    const Json request = read_request(in);
    Fields f(request, "");
    const Vm vm(config, machine_of(f, caller));
    const bool forgotten = f.boolean_or("forget", false);
    f.done();
    if (config.nomad) {
        if (!forgotten) {
            refuse_in_cluster(config);
        }
        need_released(vm);
        if (dry) {
            print_outline(vm.path, outline_of_stop(vm, true), dry, out);
        } else {
            forget(vm);
        }
        return 0;
    }
    const auto spec = load<Spec>(vm.files.spec());
    if (!spec && !std::filesystem::exists(vm.files.base())) {
        if (!forgotten) {
            fail(ExitCode::kRefused, "no machine '{}' on this host", vm.path.text());
        }
        if (dry) {
            print_outline(vm.path, outline_of_stop(vm, true), dry, out);
        } else {
            forget(vm);
        }
        return 0;
    }
    if (dry) {
        print_outline(vm.path, outline_of_stop(vm, forgotten), dry, out);
        return 0;
    }
    const auto serial = wish(vm, false, false, nullptr);
    ensure_supervisor(vm);
    static_cast<void>(
        follow(vm, serial, Until::kStopped, kSlack + seconds(spec ? spec->stop_s : 0), out));
    if (forgotten) {
        forget(vm);
    }
    return 0;
}

int restart_verb(const Config& config, const Caller& caller, int in, int out, const DryRun& dry) {
    refuse_in_cluster(config);
    check_storage(config);
    const Json request = read_request(in);
    Fields f(request, "");
    const Vm vm(config, machine_of(f, caller));
    f.done();
    const Spec spec = need_spec(vm);
    if (dry) {
        Glance now = glance_at(vm);
        now.wanted = false; // whatever runs is started anew
        print_outline(vm.path, outline_start(spec, now, vm.entry().volumes), dry, out);
        return 0;
    }
    const auto serial = wish(vm, true, true, nullptr);
    ensure_supervisor(vm);
    return follow(vm, serial, Until::kUp, start_limit(spec), out);
}

int list_verb(const Config& config, const Caller& caller, int in, int out) {
    check_storage(config);
    std::optional<Tenant> tenant = caller.tenant;
    if (::isatty(in) == 0) {
        if (const auto line = LineReader(in, kSpecBytesMax).next(seconds(60))) {
            const Json request = parse_json(*line, kSpecBytesMax, "request");
            Fields f(request, "");
            static_cast<void>(f.integer("v", 1, 1));
            tenant = caller.tenant_for(f.optional_string("tenant"));
            f.done();
        }
    }
    const auto all = processes_of(config.machine_uid_first, config.machine_uid_count);
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(config.state / "vm")) {
        names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    for (const auto& name : names) {
        const Vm vm(config, MachinePath::parse_joined(name));
        if (!tenant || vm.path.tenant == *tenant) {
            if (const auto state = state_of(vm, all)) {
                write_line(out, state->json(false));
            }
        }
    }
    return 0;
}

int logs_verb(const Config& config, const Caller& caller, int in, int out) {
    const Json request = read_request(in);
    Fields f(request, "");
    const Vm vm(config, machine_of(f, caller));
    const bool following = f.boolean_or("follow", false);
    const auto lines = f.integer_or("lines", 0, kLogLinesMost, 200);
    f.done();
    static_cast<void>(need_spec(vm));
    show_console(vm.files.console(), vm.files.console_old(), static_cast<std::size_t>(lines),
                 following, out);
    return 0;
}

ByNomad by_nomad() {
    const auto text = [](const char* name) {
        const char* value = std::getenv(name);
        return std::string(value == nullptr ? "" : value);
    };
    return {text("NOMAD_ALLOC_ID"), text("SKY_SPEC")};
}

int cleanup_verb(const Config& config, const MachinePath& machine, const ByNomad& nomad, int out,
                 const DryRun& dry) {
    check_storage(config);
    const Vm vm(config, machine);
    const bool ours = config.nomad && !nomad.alloc.empty(); // the task that ends an allocation
    const auto refuse_living = [&] {
        if (lives(vm)) {
            fail(ExitCode::kBusy, "machine '{}' lives (stop it first)", machine.text());
        }
    };
    if (dry) {
        refuse_living();
        const auto left = load<Running>(vm.files.running());
        print_outline(machine, outline_cleanup(left.has_value(), left ? left->uid : 0), dry, out);
        return 0;
    }
    if (!std::filesystem::exists(vm.files.base())) {
        return 0;
    }
    if (!ours) {
        refuse_living(); // before any waiting
    }
    const Lock change = Lock::take(vm.files.lock(), me(), kChangeLimit);
    // A supervisor that was just killed may still hold its lock; one that starts the machine does.
    const Lock supervisor = Lock::take(vm.files.supervisor_lock(), me(), seconds(5));
    const auto left = load<Running>(vm.files.running());
    if (ours && lives(vm)) {
        if (left->alloc != nomad.alloc) {
            log::info("'{}' lives on for allocation {}", machine.text(), left->alloc);
            return 0;
        }
        static_cast<void>(stop_machine(vm, *left));
    }
    refuse_living();
    sweep(vm);
    settle_volumes(config, machine);
    const auto store = owner_store(config, machine, vm.files.owner(), kCleanupPatience);
    static_cast<void>(Ownership(*store, claimant(config, nomad.alloc), {}).release());
    return 0;
}

int run_verb(const Config& config, const MachinePath& machine, const ByNomad& nomad, int out,
             const DryRun& dry) {
    const Vm vm(config, machine);
    std::optional<Spec> given;
    if (config.nomad) {
        if (nomad.alloc.empty() || nomad.spec.empty()) {
            throw UsageError("in a cluster Nomad calls this verb (NOMAD_ALLOC_ID, SKY_SPEC)");
        }
        check_storage(config);
        given = Spec::parse(nomad.spec);
        if (given->path != machine) {
            fail(ExitCode::kData, "the spec is not one of '{}'", machine.text());
        }
    }
    const Spec spec = given ? *given : need_spec(vm);
    if (dry) {
        print_outline(machine, outline_start(spec, glance_at(vm), vm.entry().volumes), dry, out);
        return 0;
    }
    make_directories(vm.files.base(), 0711);
    // A tenant's process may be our grandparent: nothing of its limits goes on to the machine.
    std::ofstream("/proc/self/oom_score_adj") << 0;
    return supervise(vm, config.nomad ? nomad.alloc : "", given);
}

} // namespace sky::vm
