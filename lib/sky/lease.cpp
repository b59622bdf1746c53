// SPDX-License-Identifier: MIT
#include <sky/lease.hpp>

#include <sky/json.hpp>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

namespace sky {
namespace {

constexpr std::size_t kCap = 1U << 16U; ///< Nomad's own limit for a variable
constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kMostSeconds = 3600;

} // namespace

LeaseRecord LeaseRecord::parse(std::string_view json) {
    const Json value = parse_json(json, kCap, "lease");
    Fields f(value, "");
    static_cast<void>(f.integer("v", 1, 1));
    LeaseRecord out{.host = f.string("host"),
                    .incarnation = f.string("incarnation"),
                    .serial = static_cast<std::uint64_t>(f.integer("serial", 0, kMost)),
                    .lease_s = f.integer("lease_s", 1, kMostSeconds),
                    .revoked = f.boolean("revoked")};
    f.each("claims", [&](const Json& each, const std::string& at) {
        Fields c(each, at);
        out.claims.push_back(
            {.machine = c.string("machine"),
             .generation = static_cast<std::uint64_t>(c.integer("generation", 1, kMost)),
             .by = c.string("by")});
        c.done();
    });
    out.at = f.string("at");
    f.done();
    return out;
}

std::string LeaseRecord::dump() const {
    Json all = Json::array();
    for (const auto& each : claims) {
        all.push_back(
            {{"machine", each.machine}, {"generation", each.generation}, {"by", each.by}});
    }
    return dump_json({{"v", 1},
                      {"host", host},
                      {"incarnation", incarnation},
                      {"serial", serial},
                      {"lease_s", lease_s},
                      {"revoked", revoked},
                      {"claims", std::move(all)},
                      {"at", at}});
}

bool LeaseRecord::claimed(std::string_view machine, std::uint64_t generation) const {
    return std::any_of(claims.begin(), claims.end(), [&](const auto& each) {
        return each.machine == machine && each.generation == generation;
    });
}

std::string lease_variable(std::string_view host) {
    return "sky/lease/" + std::string(host);
}

} // namespace sky
