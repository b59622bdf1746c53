// SPDX-License-Identifier: MIT
#include <sky-vm-run/register.hpp>

#include <sky-vm-run/held-registry.hpp>

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/json.hpp>
#include <sky/lines.hpp>
#include <sky/registry.hpp>
#include <sky/spec.hpp>
#include <sky/state.hpp>

#include <chrono>
#include <nlohmann/json.hpp>
#include <vector>

namespace sky::vm {
namespace {

constexpr std::size_t kMachinesMax = 256;

struct Request {
    Tenant tenant;
    Repo repo;
    std::vector<Machine> machines;
    std::optional<std::uint32_t> max;
};

Request parse_request(std::string_view line, const Caller& caller) {
    const Json value = parse_json(line, kSpecBytesMax, "request");
    Fields fields(value, "");
    static_cast<void>(fields.integer("v", 1, 1));
    Request request{.tenant = caller.tenant_for(fields.optional_string("tenant")),
                    .repo = parse_name<Repo>(fields, "repo"),
                    .machines = {},
                    .max = std::nullopt};
    fields.each("machines", [&](const Json& name, const std::string& at) {
        if (request.machines.size() == kMachinesMax) {
            fields.wrong("machines", fmt::format("at most {}", kMachinesMax));
        }
        request.machines.push_back(Machine::parse(string_of(name, at)));
    });
    if (fields.has("max")) {
        request.max = static_cast<std::uint32_t>(fields.integer("max", 0, kMachineIndexMax));
    }
    fields.done();
    return request;
}

Json entry_line(const Machine& machine, const Registry::Machine& entry) {
    Json line = registry_machine_json(entry);
    line["v"] = 1;
    line["machine"] = machine.str();
    line["macs"] = Json::array();
    for (std::uint32_t k = 0; k < kMacsPerMachine; ++k) {
        line["macs"].push_back(machine_mac(entry.index, k));
    }
    return line;
}

/// Every machine gets its entry or an error.
std::vector<Json> register_in(Registry& registry, const Config& config, const Request& request,
                              bool& refused) {
    const RegistryLimits limits = registry_limits(config);
    std::vector<Json> lines;
    for (const Machine& machine : request.machines) {
        const MachinePath path{request.tenant, request.repo, machine};
        try {
            lines.push_back(
                entry_line(machine, register_machine(registry, limits, path, request.max)));
        } catch (const Error& e) {
            refused = true;
            lines.push_back(
                {{"v", 1},
                 {"machine", machine.str()},
                 {"error",
                  {{"stage", "admit"}, {"code", static_cast<int>(e.code())}, {"text", e.what()}}}});
        }
    }
    return lines;
}

std::vector<Json> register_all(const Config& config, const Request& request, bool& refused) {
    std::vector<Json> lines;
    change_registry(config, "sky-vm-run register", [&](Registry& registry) {
        lines = register_in(registry, config, request, refused);
    });
    return lines;
}

} // namespace

int register_verb(const Config& config, const Caller& caller, int in, int out, bool dry_run) {
    const auto line = LineReader(in).next(std::chrono::seconds(30));
    if (!line) {
        fail(ExitCode::kData, "no request on standard input");
    }
    const Request request = parse_request(*line, caller);
    static_cast<void>(config.tenant(request.tenant));
    check_storage(config);
    bool refused = false;
    Registry registry = dry_run ? current_registry(config) : Registry{};
    for (const Json& answer : dry_run ? register_in(registry, config, request, refused)
                                      : register_all(config, request, refused)) {
        write_line(out, answer);
    }
    return code(refused ? ExitCode::kSomeFailed : ExitCode::kOk);
}

int registry_verb(const Config& config, int out) {
    check_storage(config);
    HeldRegistry held(config, "sky-vm-run registry");
    held.save(held.last_known()); // a copy that is gone or behind
    write_all(out, held.last_known().dump() + "\n");
    return 0;
}

} // namespace sky::vm
