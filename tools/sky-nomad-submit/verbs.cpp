// SPDX-License-Identifier: MIT
#include <sky-nomad-submit/verbs.hpp>

#include "sky-nomad-submit/orders.hpp"
#include "sky-nomad-submit/requests.hpp"
#include "sky-nomad-submit/status.hpp"

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/lines.hpp>
#include <sky/log.hpp>
#include <sky/registry.hpp>
#include <sky/spec.hpp>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>
#include <unistd.h>

namespace sky::submit {
namespace {

using std::chrono::seconds;

constexpr seconds kRequestWait{60}; ///< for a request that comes at once
constexpr seconds kWatch{2};        ///< between two looks of --watch
constexpr std::size_t kMachinesMost = 256;

std::string request_line(bool unbuffered) {
    LineReader reader(STDIN_FILENO, unbuffered ? 4096 : kSpecBytesMax);
    auto line = unbuffered ? reader.next_unbuffered(kRequestWait) : reader.next(kRequestWait);
    if (!line) {
        fail(ExitCode::kData, "no request on standard input");
    }
    return *line;
}

MachinePath machine_of(const Desk& desk, Fields& fields) {
    return {desk.tenant_of(fields.optional_string("tenant")), parse_name<Repo>(fields, "repo"),
            parse_name<Machine>(fields, "machine")};
}

/// What `sky-vm-run register` would answer, without giving anything out. The machine id of one that
/// is new is drawn again when it is really registered.
std::vector<Json> as_if_enrolled(const Desk& desk, const Tenant& tenant, const Repo& repo,
                                 const std::vector<Machine>& machines, std::int64_t max) {
    Registry registry = load_registry(desk.config);
    const auto limits = registry_limits(desk.config);
    std::vector<Json> lines;
    for (const Machine& machine : machines) {
        Json line{{"machine", machine.str()}};
        try {
            const auto& entry = register_machine(registry, limits, {tenant, repo, machine},
                                                 static_cast<std::uint32_t>(max));
            line["index"] = entry.index;
            line["machine_id"] = entry.machine_id;
            for (std::uint32_t k = 0; k < kMacsPerMachine; ++k) {
                line["macs"].push_back(machine_mac(entry.index, k));
            }
        } catch (const Error& e) {
            line["error"] = {{"stage", "admit"}, {"code", code(e.code())}, {"text", e.what()}};
        }
        lines.push_back(std::move(line));
    }
    return lines;
}

void identity_line(const Desk& desk, const std::string& text, bool& refused) {
    const Json value = parse_json(text, kSpecBytesMax, "request");
    Fields fields(value, "");
    check_version(fields);
    const Tenant tenant = desk.tenant_of(fields.optional_string("tenant"));
    const Repo repo = parse_name<Repo>(fields, "repo");
    std::vector<Machine> machines;
    fields.each("machines", [&](const Json& name, const std::string& path) {
        if (!Machine::valid(string_of(name, path)) || machines.size() == kMachinesMost) {
            fields.wrong("machines", fmt::format("at most {} machine names", kMachinesMost));
        }
        machines.push_back(Machine::parse(string_of(name, path)));
    });
    fields.done();
    const auto quota = desk.config.tenant(tenant).quota.machines;
    for (const Json& entry : desk.dry_run ? as_if_enrolled(desk, tenant, repo, machines, quota)
                                          : desk.scheduler.enrol(tenant, repo, machines, quota)) {
        Json line = {{"v", 1}, {"machine", entry.at("machine")}};
        if (entry.contains("error")) {
            line["error"] = entry.at("error");
            refused = true;
        } else {
            for (const char* key : {"index", "machine_id", "macs"}) {
                line[key] = entry.at(key);
            }
            line["root_mib"] = desk.config.machine.root_mib;
        }
        write_line(STDOUT_FILENO, line);
    }
}

/// Every line of stdin, each within its time.
template <typename F>
void each_request(const F& f) {
    LineReader reader(STDIN_FILENO, kSpecBytesMax);
    while (const auto line = reader.next(kRequestWait)) {
        if (!line->empty()) {
            f(*line);
        }
    }
}

void submit_line(const Desk& desk, Orders& orders, const std::string& text) {
    const Json object = parse_json(text, kSpecBytesMax, "request");
    Fields fields(object, ""); // keys of other stages pass: no done()
    if (fields.has("error")) {
        orders.pass(object);
        return;
    }
    check_version(fields);
    const MachinePath path = machine_of(desk, fields);
    static_cast<void>(desk.config.tenant(path.tenant));
    Order order{.kind = Order::Kind::kForget,
                .path = path,
                .rev = std::nullopt,
                .to = std::nullopt,
                .session = std::nullopt,
                .dry_run = desk.dry_run};
    if (fields.has("build")) {
        order.session = parse_name<BuildId>(fields, "build");
    }
    if (fields.has("rev")) {
        order.kind = Order::Kind::kDeploy;
        order.rev = parse_name<Revision>(fields, "rev");
    } else if (!object.contains("rev")) {
        fail(ExitCode::kData, "rev: missing (null stops the machine)");
    }
    orders.add(order, object);
}

void control_line(const Desk& desk, Orders& orders, const std::string& verb,
                  const std::string& text) {
    const Json value = parse_json(text, kSpecBytesMax, "request");
    Fields fields(value, "");
    check_version(fields);
    Order order{.kind = verb == "stop"       ? Order::Kind::kStop
                        : verb == "restart"  ? Order::Kind::kRestart
                        : verb == "rollback" ? Order::Kind::kRollback
                                             : Order::Kind::kDeploy,
                .path = machine_of(desk, fields),
                .rev = std::nullopt,
                .to = std::nullopt,
                .session = std::nullopt,
                .dry_run = desk.dry_run};
    static_cast<void>(desk.config.tenant(order.path.tenant));
    order.rev = parse_name<Revision>(fields, "rev");
    if (verb == "rollback" && fields.has("to")) {
        order.to = parse_name<Revision>(fields, "to");
    }
    fields.done();
    orders.add(order,
               {{"v", 1}, {"repo", order.path.repo.str()}, {"machine", order.path.machine.str()}});
}

std::vector<Row> status_rows(const Desk& desk, const std::string& text,
                             std::map<Tenant, std::vector<MachineState>>& seen) {
    const Json value = parse_json(text, kSpecBytesMax, "request");
    Fields fields(value, "");
    check_version(fields);
    const Tenant tenant = desk.tenant_of(fields.optional_string("tenant"));
    const Repo repo = parse_name<Repo>(fields, "repo");
    const Branches branches = branches_of(fields);
    std::optional<Machine> only;
    if (fields.has("machine")) {
        only = parse_name<Machine>(fields, "machine");
    }
    fields.done();
    if (!seen.contains(tenant)) {
        seen.emplace(tenant, desk.scheduler.list(tenant));
    }
    return join_status(tenant, repo, branches, Records(desk.config.shared).of_repo(tenant, repo),
                       seen.at(tenant), desk.config.host, only);
}

std::vector<Row> rows_of(const Desk& desk, const std::vector<std::string>& requests) {
    std::vector<Row> rows;
    std::map<Tenant, std::vector<MachineState>> seen;
    for (const auto& request : requests) {
        for (Row& row : status_rows(desk, request, seen)) {
            rows.push_back(std::move(row));
        }
    }
    return rows;
}

/// For operators: every record, whatever its repository says.
std::vector<Row> all_rows(const Desk& desk) {
    std::vector<Row> rows;
    const auto seen = desk.scheduler.list(std::nullopt);
    for (const auto& [tenant, entry] : desk.config.tenants) {
        const auto records = Records(desk.config.shared).of_tenant(tenant);
        std::map<Repo, Branches> branches;
        for (const auto& [path, record] : records) {
            auto& of_repo = branches[path.repo];
            if (record.rev) {
                of_repo.emplace(path.machine.str(), *record.rev);
            }
        }
        for (const auto& [repo, of_repo] : branches) {
            for (Row& row : join_status(tenant, repo, of_repo, records, seen, desk.config.host,
                                        std::nullopt)) {
                row.machine = tenant.str() + "/" + row.machine;
                rows.push_back(std::move(row));
            }
        }
    }
    return rows;
}

void print_rows(const Desk& desk, const std::vector<Row>& rows) {
    if (desk.caller.root && !desk.json && ::isatty(STDOUT_FILENO) == 1) {
        write_all(STDOUT_FILENO, status_table(rows));
        return;
    }
    for (const Row& row : rows) {
        write_line(STDOUT_FILENO, row.json());
    }
}

/// The machine, if the registry has it: the same words for another's and for none.
Registry::Machine registered(const Desk& desk, const MachinePath& path) {
    const Registry registry = load_registry(desk.config);
    const auto* machine = registry.find(path);
    if (machine == nullptr) {
        fail(ExitCode::kRefused, "no machine '{}/{}'", path.repo.str(), path.machine.str());
    }
    return *machine;
}

} // namespace

Tenant Desk::tenant_of(const std::optional<std::string>& named) const {
    return caller.tenant_for(named ? named : tenant);
}

int identity(const Desk& desk) {
    bool refused = false;
    each_request([&](const std::string& line) { identity_line(desk, line, refused); });
    return code(refused ? ExitCode::kSomeFailed : ExitCode::kOk);
}

int submit(const Desk& desk) {
    Orders orders(desk);
    return orders.run(
        STDIN_FILENO, [&](const std::string& line) { submit_line(desk, orders, line); }, false);
}

int control(const Desk& desk, const std::string& verb) {
    const auto& allowed = desk.config.verbs;
    if (!desk.caller.root && std::find(allowed.begin(), allowed.end(), verb) == allowed.end()) {
        fail(ExitCode::kRefused, "'{}' is not allowed on this host", verb);
    }
    Orders orders(desk);
    return orders.run(
        STDIN_FILENO, [&](const std::string& line) { control_line(desk, orders, verb, line); },
        true);
}

int status(const Desk& desk) {
    if ((desk.all || desk.watch) && !desk.caller.root) {
        fail(ExitCode::kRefused, "--all and --watch are for the operator");
    }
    std::vector<std::string> requests;
    if (!desk.all) {
        each_request([&](const std::string& line) { requests.push_back(line); });
    }
    std::string before;
    for (;;) {
        const auto rows = desk.all ? all_rows(desk) : rows_of(desk, requests);
        const std::string now = status_table(rows);
        if (now != before) {
            print_rows(desk, rows);
            before = now;
        }
        if (!desk.watch) {
            return 0;
        }
        std::this_thread::sleep_for(kWatch);
    }
}

int logs(const Desk& desk) {
    const Json value = parse_json(request_line(false), kSpecBytesMax, "request");
    Fields fields(value, "");
    check_version(fields);
    const MachinePath path = machine_of(desk, fields);
    const bool follow = fields.boolean_or("follow", false);
    const auto lines = fields.integer_or("lines", 0, 1000000, 200);
    fields.done();
    static_cast<void>(registered(desk, path));
    return desk.scheduler.logs(path, follow, lines);
}

int connect(const Desk& desk) {
    const Json value = parse_json(request_line(true), kSpecBytesMax, "request");
    Fields fields(value, "");
    check_version(fields);
    const MachinePath path = machine_of(desk, fields);
    const auto port = static_cast<std::uint16_t>(fields.integer_or("port", 1, 65535, 22));
    const bool here = fields.boolean_or("here", false); // asked by another host's connect
    fields.done();
    if (here && !desk.caller.root) {
        fail(ExitCode::kRefused, "'here' is for hosts among themselves");
    }
    const auto machine = registered(desk, path);
    if (machine.addresses.empty()) {
        fail(ExitCode::kUnavailable, "'{}' has no address", path.text());
    }
    const auto usual = machine.addresses.find("default");
    const auto& address =
        usual == machine.addresses.end() ? machine.addresses.begin()->second : usual->second;
    return here ? desk.scheduler.Scheduler::connect(path, address, port)
                : desk.scheduler.connect(path, address, port);
}

} // namespace sky::submit
