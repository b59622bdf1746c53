// SPDX-License-Identifier: MIT
#include <sky/config-read.hpp>

#include <algorithm>
#include <string_view>

namespace sky::config_read {
namespace {

bool valid_address(std::string_view text) {
    for (const std::string_view scheme : {"https://", "http://"}) {
        if (text.starts_with(scheme)) {
            const auto rest = text.substr(scheme.size());
            return !rest.empty() && rest.find_first_of("/?#@ ") == std::string_view::npos;
        }
    }
    return false;
}

Placement::Rule read_rule(const Json& value, const std::string& path, bool weighed) {
    Fields f(value, path, kCode);
    Placement::Rule rule{.attribute = f.string("attribute"), .value = f.string("value")};
    set(f, "operator", rule.op);
    if (weighed) {
        set(f, "weight", rule.weight, -100, 100);
        if (rule.weight == 0) {
            f.wrong("weight", "-100 to 100, not 0");
        }
    }
    f.done();
    return rule;
}

Placement read_placement(const Json& value, const std::string& path) {
    Fields f(value, path, kCode);
    Placement out;
    for (auto* into : {&out.constraints, &out.affinities}) {
        const bool weighed = into == &out.affinities;
        f.each(
            weighed ? "affinities" : "constraints",
            [&](const Json& rule, const std::string& at) {
                into->push_back(read_rule(rule, at, weighed));
            },
            true);
    }
    f.each(
        "spreads",
        [&](const Json& spread, const std::string& at) {
            Fields s(spread, at, kCode);
            out.spreads.push_back(
                {.attribute = s.string("attribute"), .weight = s.integer_or("weight", 1, 100, 50)});
            s.done();
        },
        true);
    if (f.has("priority")) {
        out.priority = f.integer("priority", 1, 100);
    }
    f.done();
    return out;
}

} // namespace

void read_nomad(Fields& f, NomadConfig& nomad) {
    set_list(f, "addresses", nomad.addresses);
    if (nomad.addresses.empty() ||
        !std::all_of(nomad.addresses.begin(), nomad.addresses.end(), valid_address)) {
        f.wrong("addresses", "at least one http(s)://HOST:PORT");
    }
    set(f, "ca", nomad.ca);
    set(f, "cert", nomad.cert);
    set(f, "key", nomad.key);
    if (nomad.cert.has_value() != nomad.key.has_value()) {
        f.wrong("cert", "together with key");
    }
    nomad.tls_name = f.optional_string("tls_name");
    set(f, "region", nomad.region);
    set_list(f, "datacenters", nomad.datacenters);
    set(f, "node_pool", nomad.node_pool);
    set(f, "deploy_token", nomad.deploy_token);
    set(f, "host_token", nomad.host_token);
    set(f, "vcpu_mhz", nomad.vcpu_mhz, 1, 100000);
    set(f, "overhead_mib", nomad.overhead_mib, 16, 1 << 20);
    set(f, "place_s", nomad.place_s, 1, 3600);
    set(f, "lease_s", nomad.lease_s, 3, 3600);
    const auto spare = f.optional_string("spare").value_or("warn");
    if (spare != "warn" && spare != "refuse") {
        f.wrong("spare", "\"warn\" or \"refuse\"");
    }
    nomad.spare_refuses = spare == "refuse";
    f.each_member(
        "placements",
        [&](const std::string& name, const Json& value, const std::string& path) {
            nomad.placements.emplace(name_of<Volume>(name, path).str(),
                                     read_placement(value, path));
        },
        true);
}

} // namespace sky::config_read
