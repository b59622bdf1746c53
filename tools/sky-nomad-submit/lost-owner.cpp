// SPDX-License-Identifier: MIT
#include <sky-nomad-submit/lost-owner.hpp>

#include <sky/cli.hpp>
#include <sky/json.hpp>

#include <fmt/format.h>
#include <limits>
#include <nlohmann/json.hpp>

namespace sky::submit {
namespace {

constexpr std::size_t kCap = 1U << 16U;       ///< Nomad's own limit for a variable
constexpr std::chrono::seconds kPatience{30}; ///< the lost host may have led Nomad

std::string variable_of(const MachinePath& path) {
    return fmt::format("sky/owner/{}/{}/{}", path.tenant.str(), path.repo.str(),
                       path.machine.str());
}

} // namespace

std::optional<Owner> Owner::of(nomad::Client& client, const MachinePath& path) {
    const auto there = client.variable(variable_of(path));
    if (!there) {
        return std::nullopt;
    }
    const Json value = parse_json(there->json, kCap, "owner record");
    Owner out{.holder = {}, .alloc = "", .record = *there};
    Fields f(value, "");
    out.holder = {.host = f.string("host"),
                  .incarnation = f.string("incarnation"),
                  .generation = static_cast<std::uint64_t>(
                      f.integer("generation", 1, std::numeric_limits<std::int64_t>::max()))};
    out.alloc = f.optional_string("alloc").value_or("");
    out.leased = f.boolean_or("leased", false);
    out.released = f.boolean("released");
    return out;
}

LostOwner::LostOwner(nomad::Client& client, const Config& config, const MachinePath& path)
    : client_(client), path_(path),
      store_(lease_store(*config.nomad, nomad::read_token(config.nomad->deploy_token), kPatience)),
      leases_(*store_, "sky-nomad-submit on " + config.host, path.joined(),
              lease_wait(config.volumes)) {}

bool LostOwner::gone(const Owner& owner) {
    switch (plan_fence(owner.holder, leases_.of(owner.holder))) {
    case Fence::kOver: {
        Json record = parse_json(owner.record.json, kCap, "owner record");
        record["released"] = true;
        record["at"] = now_text();
        return client_.set_variable(variable_of(path_), dump_json(record), owner.record.index)
            .has_value();
    }
    case Fence::kClaim:
        leases_.claim(owner.holder);
        break;
    case Fence::kRevoke:
        leases_.revoke(owner.holder);
        break;
    case Fence::kAsked:
    case Fence::kWait:
    case Fence::kNone:
        break;
    }
    return false;
}

} // namespace sky::submit
