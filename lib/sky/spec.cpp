// SPDX-License-Identifier: MIT
#include <sky/spec.hpp>

#include <sky/error.hpp>
#include <sky/hash.hpp>
#include <sky/json.hpp>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

namespace sky {
namespace {

constexpr std::int64_t kMibMost = std::int64_t{1} << 40;

bool hex(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/// `text` has the shape of `pattern`, where x stands for a hex digit.
bool shaped(std::string_view text, std::string_view pattern) {
    return std::equal(text.begin(), text.end(), pattern.begin(), pattern.end(),
                      [](char c, char p) { return p == 'x' ? hex(c) : c == p; });
}

Spec::Interface parse_interface(const Json& value, const std::string& path, std::size_t number) {
    Fields fields(value, path);
    Spec::Interface out{.tap = fields.string("tap"),
                        .mac = parse_mac(fields, "mac"),
                        .network = parse_name<Network>(fields, "network"),
                        .queues = static_cast<std::uint32_t>(fields.integer("queues", 1, 64))};
    if (out.tap != fmt::format("sky{}", number)) {
        fields.wrong("tap", "sky0, sky1, ... in order");
    }
    fields.done();
    return out;
}

Spec::Disk parse_disk(const Json& value, const std::string& path) {
    Fields fields(value, path);
    Spec::Disk out{.name = parse_name<Volume>(fields, "name"),
                   .storage_class = fields.string("class"),
                   .size_mib = static_cast<std::uint64_t>(fields.integer("size_mib", 1, kMibMost)),
                   .read_only = fields.boolean("read_only")};
    if (!Volume::valid(out.storage_class)) {
        fields.wrong("class", "a storage class");
    }
    fields.done();
    return out;
}

void parse_devices(Fields& fields, Spec& spec) {
    std::set<std::string> macs;
    fields.each("interfaces", [&](const Json& value, const std::string& path) {
        if (spec.interfaces.size() == kInterfacesMax) {
            fields.wrong("interfaces", fmt::format("at most {}", kInterfacesMax));
        }
        spec.interfaces.push_back(parse_interface(value, path, spec.interfaces.size()));
        if (!macs.insert(spec.interfaces.back().mac).second) {
            fail(ExitCode::kData, "{}.mac: stands there twice", path);
        }
    });
    std::set<Volume> names;
    fields.each("volumes", [&](const Json& value, const std::string& path) {
        if (spec.volumes.size() == kVolumesMax) {
            fields.wrong("volumes", fmt::format("at most {}", kVolumesMax));
        }
        spec.volumes.push_back(parse_disk(value, path));
        if (!names.insert(spec.volumes.back().name).second) {
            fail(ExitCode::kData, "{}.name: stands there twice", path);
        }
    });
}

std::string parse_nar_hash_field(Fields& fields, const char* key) {
    std::string text = fields.string(key);
    try {
        static_cast<void>(parse_nar_hash(text));
    } catch (const Error&) {
        fields.wrong(key, "sha256: and 52 base-32 digits");
    }
    return text;
}

Json to_json(const Spec& spec) {
    Json out = {{"v", 1},
                {"tenant", spec.path.tenant.str()},
                {"repo", spec.path.repo.str()},
                {"machine", spec.path.machine.str()},
                {"rev", spec.rev.str()},
                {"deployment", spec.deployment.str()},
                {"nar_hash", spec.nar_hash},
                {"runner", spec.runner.str()},
                {"hypervisor", spec.hypervisor},
                {"store", spec.store == Spec::Store::kDisk ? "disk" : "virtiofs"},
                {"vcpu", spec.vcpu},
                {"mem_mib", spec.mem_mib},
                {"machine_id", spec.machine_id},
                {"interfaces", Json::array()},
                {"volumes", Json::array()},
                {"ready", {{"type", "none"}}},
                {"on_poweroff", spec.on_poweroff == Spec::OnPoweroff::kStay ? "stay" : "restart"},
                {"ready_s", spec.ready_s},
                {"stop_s", spec.stop_s}};
    for (const auto& i : spec.interfaces) {
        out["interfaces"].push_back(
            {{"tap", i.tap}, {"mac", i.mac}, {"network", i.network.str()}, {"queues", i.queues}});
    }
    for (const auto& d : spec.volumes) {
        out["volumes"].push_back({{"name", d.name.str()},
                                  {"class", d.storage_class},
                                  {"size_mib", d.size_mib},
                                  {"read_only", d.read_only}});
    }
    if (spec.ready.type == Spec::Ready::Type::kTcp) {
        out["ready"] = {{"type", "tcp"}, {"port", spec.ready.port}};
    } else if (spec.ready.type == Spec::Ready::Type::kNotify) {
        out["ready"] = {{"type", "notify"}};
    }
    return out;
}

} // namespace

bool valid_machine_id(std::string_view text) noexcept {
    return shaped(text, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
}

bool valid_mac(std::string_view text) noexcept {
    return shaped(text, "xx:xx:xx:xx:xx:xx");
}

Spec::Ready parse_ready(Fields& fields, const char* key) {
    Fields ready(fields.any(key), fields.path_of(key));
    const std::string type = ready.string("type");
    Spec::Ready out;
    if (type == "tcp") {
        out.type = Spec::Ready::Type::kTcp;
        out.port = static_cast<std::uint16_t>(ready.integer("port", 1, 65535));
    } else if (type == "notify") {
        out.type = Spec::Ready::Type::kNotify;
    } else if (type != "none") {
        ready.wrong("type", "\"none\", \"tcp\" or \"notify\"");
    }
    ready.done();
    return out;
}

Spec::Store parse_store(Fields& fields, const char* key) {
    const std::string text = fields.string(key);
    if (text != "virtiofs" && text != "disk") {
        fields.wrong(key, "\"virtiofs\" or \"disk\"");
    }
    return text == "disk" ? Spec::Store::kDisk : Spec::Store::kVirtiofs;
}

Spec::OnPoweroff parse_on_poweroff(Fields& fields, const char* key) {
    const std::string text = fields.string(key);
    if (text != "restart" && text != "stay") {
        fields.wrong(key, "\"restart\" or \"stay\"");
    }
    return text == "stay" ? Spec::OnPoweroff::kStay : Spec::OnPoweroff::kRestart;
}

StorePath parse_store_path(Fields& fields, const char* key) {
    const std::string text = fields.string(key);
    try {
        return StorePath::parse(text);
    } catch (const Error&) {
        fields.wrong(key, "a store path");
    }
}

std::string parse_mac(Fields& fields, const char* key) {
    std::string text = fields.string(key);
    if (!valid_mac(text)) {
        fields.wrong(key, "six pairs of lower-case hex digits with colons");
    }
    return text;
}

std::string parse_machine_id(Fields& fields, const char* key) {
    std::string text = fields.string(key);
    if (!valid_machine_id(text)) {
        fields.wrong(key, "8-4-4-4-12 lower-case hex digits");
    }
    return text;
}

Spec Spec::parse(std::string_view json) {
    const Json value = parse_json(json, kSpecBytesMax, "spec");
    Fields fields(value, "");
    static_cast<void>(fields.integer("v", 1, 1));
    Spec spec{
        .path = {parse_name<Tenant>(fields, "tenant"), parse_name<Repo>(fields, "repo"),
                 parse_name<Machine>(fields, "machine")},
        .rev = parse_name<Revision>(fields, "rev"),
        .deployment = parse_store_path(fields, "deployment"),
        .nar_hash = parse_nar_hash_field(fields, "nar_hash"),
        .runner = parse_store_path(fields, "runner"),
        .hypervisor = fields.string("hypervisor"),
        .store = parse_store(fields, "store"),
        .vcpu = static_cast<std::uint32_t>(fields.integer("vcpu", 1, 4096)),
        .mem_mib = static_cast<std::uint64_t>(fields.integer("mem_mib", 1, kMibMost)),
        .machine_id = parse_machine_id(fields, "machine_id"),
        .interfaces = {},
        .volumes = {},
        .ready = parse_ready(fields, "ready"),
        .on_poweroff = parse_on_poweroff(fields, "on_poweroff"),
        .ready_s = static_cast<std::uint32_t>(fields.integer("ready_s", 1, 86400)),
        .stop_s = static_cast<std::uint32_t>(fields.integer("stop_s", 1, 86400)),
    };
    if (!Volume::valid(spec.hypervisor)) {
        fields.wrong("hypervisor", "the name of a hypervisor");
    }
    parse_devices(fields, spec);
    fields.done();
    return spec;
}

std::string Spec::dump() const {
    return dump_json(to_json(*this));
}

std::string Spec::hash() const {
    Json value = to_json(*this);
    value.erase("rev");
    std::string out;
    for (const std::uint8_t byte : sha256(dump_json(value))) {
        out += fmt::format("{:02x}", byte);
    }
    return out;
}

} // namespace sky
