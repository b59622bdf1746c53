// SPDX-License-Identifier: MIT
#include <sky-nomad-submit/lost-owner.hpp>

#include <sky/json.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace sky::submit {
namespace {

constexpr std::size_t kCap = 1U << 16U;
constexpr std::chrono::seconds kPatience{20};

} // namespace

LostOwner::LostOwner(nomad::Client& client, const Config& config, const std::string& token,
                     const MachinePath& path)
    : client_(client), variable_(fmt::format("sky/owner/{}/{}/{}", path.tenant.str(),
                                             path.repo.str(), path.machine.str())),
      store_(lease_store(*config.nomad, token, kPatience)),
      leases_(*store_, "sky-nomad-submit on " + config.host, path.joined(),
              lease_wait(config.volumes)) {}

bool LostOwner::gone() {
    const auto there = client_.variable(variable_);
    if (!there) {
        return true;
    }
    Json owner = parse_json(there->json, kCap, "owner");
    if (owner.value("released", false)) {
        return true;
    }
    if (!owner.value("leased", false)) {
        return false; // what it writes to is its host's alone, and so is the word that it ended
    }
    const Holder holder{.host = owner.at("host").get<std::string>(),
                        .incarnation = owner.at("incarnation").get<std::string>(),
                        .generation = owner.at("generation").get<std::uint64_t>()};
    switch (plan_fence(holder, leases_.of(holder))) {
    case Fence::kOver:
        owner["released"] = true;
        owner["at"] = now_text();
        return client_.set_variable(variable_, dump_json(owner), there->index).has_value();
    case Fence::kClaim:
        leases_.claim(holder);
        break;
    case Fence::kRevoke:
        leases_.revoke(holder);
        break;
    case Fence::kAsked:
    case Fence::kWait:
    case Fence::kNone:
        break;
    }
    return false;
}

} // namespace sky::submit
