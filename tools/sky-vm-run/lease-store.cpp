// SPDX-License-Identifier: MIT
#include <sky-vm-run/lease-store.hpp>

#include <sky/json.hpp>
#include <sky/nomad/client.hpp>

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace sky::vm {
namespace {

class NomadLeases final : public LeaseStore {
  public:
    NomadLeases(const NomadConfig& config, std::chrono::milliseconds patience)
        : client_(config, nomad::read_token(config.host_token), patience) {}

    std::optional<Read> read(const std::string& host) override {
        const auto variable = client_.variable(lease_variable(host));
        return variable ? std::optional(Read{LeaseRecord::parse(variable->json), variable->index})
                        : std::nullopt;
    }

    std::optional<std::uint64_t> write(const LeaseRecord& lease, std::uint64_t index) override {
        return client_.set_variable(lease_variable(lease.host), lease.dump(), index);
    }

    bool down(const std::string& host) override {
        const Json nodes = client_.get("nodes", {{"filter", fmt::format("Name == \"{}\"", host)}});
        // One that was installed anew has an older self there, too.
        return !nodes.empty() && std::all_of(nodes.begin(), nodes.end(), [](const Json& node) {
            return node.value("Status", "") == "down";
        });
    }

  private:
    nomad::Client client_;
};

} // namespace

std::unique_ptr<LeaseStore> lease_store(const NomadConfig& config,
                                        std::chrono::milliseconds patience) {
    return std::make_unique<NomadLeases>(config, patience);
}

} // namespace sky::vm
