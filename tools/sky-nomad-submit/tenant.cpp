// SPDX-License-Identifier: MIT
#include <sky-nomad-submit/tenant.hpp>

#include "sky-nomad-submit/operator-token.hpp"

#include <sky/error.hpp>
#include <sky/log.hpp>
#include <sky/nomad/client.hpp>

#include <cstdlib>
#include <nlohmann/json.hpp>

namespace sky::submit {

nomad::Client operator_client(const Config& config) {
    if (!config.nomad) {
        fail(ExitCode::kConfig, "no 'nomad' in the configuration: this is for a cluster");
    }
    const char* token = std::getenv("NOMAD_TOKEN"); // NOLINT(concurrency-mt-unsafe): no thread yet
    if (token == nullptr || *token == '\0') {
        throw UsageError("NOMAD_TOKEN holds no token (the operator's, kept on no host)");
    }
    return {*config.nomad, token};
}

int tenant_add(const Config& config, const std::string& tenant) {
    const Tenant name = Tenant::parse(tenant);
    static_cast<void>(config.tenant(name));
    nomad::Client nomad = operator_client(config);
    const auto make = [&](const std::string& space, const std::string& what) {
        nomad.put("namespace/" + space, {}, {{"Name", space}, {"Description", what}},
                  nomad::Client::Again::kSafe);
    };
    make(std::string(nomad::kOurNamespace), "Skyflake's variables");
    make(nomad::namespace_of(name), "machines of tenant " + name.str());
    log::say("-----> namespace " + nomad::namespace_of(name));
    return 0;
}

} // namespace sky::submit
