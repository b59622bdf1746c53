// SPDX-License-Identifier: MIT
#include <sky-vm-run/deadline.hpp>
#include <sky-vm-run/doctor.hpp>
#include <sky-vm-run/held-registry.hpp>

#include <sky/error.hpp>
#include <sky/nomad/client.hpp>
#include <sky/state.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace sky::vm {
namespace {

constexpr std::chrono::seconds kPatience{5};

std::string text_at(const Json& object, const char* key) {
    const auto at = object.is_object() ? object.find(key) : object.end();
    return at != object.end() && at->is_string() ? at->get<std::string>() : "";
}

/// This host as a client of Nomad's.
void check_client(const Config& config, nomad::Client& client, Report& report) {
    const Json nodes = client.get("nodes", {{"resources", "false"}});
    for (const auto& node : nodes) {
        if (text_at(node, "Name") != config.host) {
            continue;
        }
        const auto version = text_at(node, "Version");
        if (version_in(version) < std::vector<int>{1, 10, 2}) {
            report.bad(fmt::format("its agent here is {}", printable(version)),
                       "1.10.2 or newer is needed");
        }
        if (text_at(node, "Status") != "ready") {
            report.bad(fmt::format("it holds this host '{}'", printable(text_at(node, "Status"))),
                       "nomad node status; start the agent");
        }
        const auto drivers = node.find("Drivers");
        const auto raw = drivers == node.end() ? Json() : drivers->value("raw_exec", Json());
        if (!raw.is_object() || !raw.value("Healthy", false)) {
            report.bad("its agent here has no driver raw_exec",
                       "plugin \"raw_exec\" { config { enabled = true } } in the client's "
                       "configuration");
        }
        return;
    }
    report.bad(fmt::format("it knows no client '{}'", config.host),
               "start the agent here; its name is 'host' of the configuration");
}

void check_token(const NomadConfig& nomad, const std::filesystem::path& file, bool submits,
                 Findings& findings) {
    Report report(findings, "tokens");
    try {
        nomad::Client client(nomad, nomad::read_token(file), kPatience);
        static_cast<void>(client.variables("sky/"));
        if (submits) {
            static_cast<void>(client.get("nodes"));
        }
        report.good(file.string());
    } catch (const Error& e) {
        report.bad(fmt::format("'{}': {}", file.string(), e.what()),
                   "a token of the policies in share/skyflake/nomad");
    }
}

/// Each address by itself: the tools are content with any one that answers.
void check_ports(const NomadConfig& nomad, Findings& findings) {
    Report report(findings, "ports");
    for (const auto& address : nomad.addresses) {
        NomadConfig one = nomad;
        one.addresses = {address};
        try {
            static_cast<void>(nomad::Client(one, "", kPatience).get("status/leader"));
            report.good(address);
        } catch (const Error& e) {
            report.warning(fmt::format("{}: {}", address, e.what()),
                           "start the agent there; hosts need each other's 4646 and 4647, "
                           "servers' 4648: look at the firewalls");
        }
    }
}

void check_registry(const Config& config, Findings& findings) {
    Report report(findings, "registry");
    try {
        const Registry now = current_registry(config);
        if (load_registry(config).commit.serial >= now.commit.serial) {
            report.good(fmt::format("{} machines", now.machines.size()));
        } else {
            report.warning("its copy in the shared directory is behind",
                           "'sky-vm-run registry' writes it anew");
        }
    } catch (const Error& e) {
        report.bad(e.what(), "see the handbook's page of this alarm");
    }
}

void check_lease(const Config& config, Findings& findings) {
    Report report(findings, "lease");
    if (held_lease(State(config).deadline())) {
        report.good("this host holds its own");
    } else {
        report.bad("this host holds none: it is given no machine with leased volumes",
                   "start sky-vm-run lease; its log says why it does not get one");
    }
}

} // namespace

void check_cluster(const Config& config, Findings& findings) {
    if (!config.nomad) {
        return;
    }
    check_ports(*config.nomad, findings);
    Report report(findings, "nomad");
    try {
        nomad::Client client(*config.nomad, nomad::read_token(config.nomad->host_token), kPatience);
        const Json leader = client.get("status/leader");
        const auto before = findings.size();
        check_client(config, client, report);
        if (findings.size() == before) {
            report.good(fmt::format("it leads from {}, and this host is its client",
                                    leader.is_string() ? leader.get<std::string>() : "somewhere"));
        }
    } catch (const Error& e) {
        report.bad(e.what(), "systemctl status nomad; 'addresses' of the configuration");
        return;
    }
    check_token(*config.nomad, config.nomad->host_token, false, findings);
    check_token(*config.nomad, config.nomad->deploy_token, true, findings);
    check_registry(config, findings);
    check_lease(config, findings);
}

} // namespace sky::vm
