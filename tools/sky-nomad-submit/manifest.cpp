// SPDX-License-Identifier: MIT
#include <sky-nomad-submit/manifest.hpp>

#include <sky/error.hpp>
#include <sky/json.hpp>

#include <nlohmann/json.hpp>
#include <set>

namespace sky::submit {
namespace {

constexpr std::int64_t kMibMost = std::int64_t{1} << 32;
constexpr std::size_t kMountMost = 255;
constexpr std::size_t kAskedMost = 16;

Manifest::Interface parse_interface(const Json& value, const std::string& path,
                                    std::size_t number) {
    Fields fields(value, path);
    if (fields.string("id") != fmt::format("sky{}", number)) {
        fields.wrong("id", "sky0, sky1, ... in order");
    }
    Manifest::Interface out{.mac = parse_mac(fields, "mac"),
                            .network = parse_name<Network>(fields, "network"),
                            .queues = static_cast<std::uint32_t>(fields.integer("queues", 1, 64))};
    fields.done();
    return out;
}

Manifest::Disk parse_disk(const Json& value, const std::string& path) {
    Fields fields(value, path);
    Manifest::Disk out{.name = parse_name<Volume>(fields, "name"),
                       .size_mib =
                           static_cast<std::uint64_t>(fields.integer("size_mib", 1, kMibMost)),
                       .storage_class = fields.optional_string("class"),
                       .mount = fields.optional_string("mount"),
                       .read_only = fields.boolean("read_only")};
    if (out.storage_class && !Volume::valid(*out.storage_class)) {
        fields.wrong("class", "a valid name");
    }
    if (out.mount && (!out.mount->starts_with('/') || out.mount->size() > kMountMost)) {
        fields.wrong("mount", "an absolute path, or null");
    }
    fields.done();
    return out;
}

void parse_devices(Fields& fields, Manifest& manifest) {
    std::set<std::string> macs;
    fields.each("interfaces", [&](const Json& value, const std::string& path) {
        if (manifest.interfaces.size() == kInterfacesMax) {
            fields.wrong("interfaces", fmt::format("at most {}", kInterfacesMax));
        }
        manifest.interfaces.push_back(parse_interface(value, path, manifest.interfaces.size()));
        if (!macs.insert(manifest.interfaces.back().mac).second) {
            fail(ExitCode::kData, "{}.mac: stands there twice", path);
        }
    });
    std::set<Volume> names;
    fields.each("volumes", [&](const Json& value, const std::string& path) {
        if (manifest.volumes.size() == kVolumesMax) {
            fields.wrong("volumes", fmt::format("at most {}", kVolumesMax));
        }
        manifest.volumes.push_back(parse_disk(value, path));
        if (!names.insert(manifest.volumes.back().name).second) {
            fail(ExitCode::kData, "{}.name: stands there twice", path);
        }
    });
}

bool valid_apart(std::string_view text) {
    const auto slash = text.find('/');
    return slash == text.npos
               ? Machine::valid(text)
               : Repo::valid(text.substr(0, slash)) && Machine::valid(text.substr(slash + 1));
}

std::vector<std::string> parse_names(Fields& fields, const char* key,
                                     bool (*valid)(std::string_view)) {
    std::vector<std::string> out;
    fields.each(
        key,
        [&](const Json& value, const std::string& path) {
            if (!valid(string_of(value, path)) || out.size() == kAskedMost) {
                fields.wrong(key, fmt::format("at most {} names", kAskedMost));
            }
            out.push_back(string_of(value, path));
        },
        true);
    return out;
}

Manifest::Asked parse_asked(Fields& fields, const char* key) {
    if (!fields.has(key)) {
        return {};
    }
    Fields asked(fields.any(key), fields.path_of(key));
    Manifest::Asked out{
        .placements =
            parse_names(asked, "ask", [](std::string_view name) { return Volume::valid(name); }),
        .apart = parse_names(asked, "apart", valid_apart)};
    asked.done();
    return out;
}

} // namespace

Manifest Manifest::parse(std::string_view json) {
    const Json value = parse_json(json, kSpecBytesMax, "manifest");
    Fields fields(value, "manifest");
    static_cast<void>(fields.integer("v", 1, 1));
    Manifest out{
        .system = fields.string("system"),
        .hypervisor = fields.string("hypervisor"),
        .vcpu = static_cast<std::uint32_t>(fields.integer("vcpu", 1, 4096)),
        .mem_mib = static_cast<std::uint64_t>(fields.integer("mem_mib", 1, kMibMost)),
        .machine_id = parse_machine_id(fields, "machine_id"),
        .runner = parse_store_path(fields, "runner"),
        .toplevel = std::nullopt,
        .store = parse_store(fields, "store"),
        .interfaces = {},
        .volumes = {},
        .ready = parse_ready(fields, "ready"),
        .on_poweroff = parse_on_poweroff(fields, "on_poweroff"),
        .asked = parse_asked(fields, "placement"),
    };
    if (fields.has("toplevel")) {
        out.toplevel = parse_store_path(fields, "toplevel");
    }
    if (!Volume::valid(out.hypervisor)) {
        fields.wrong("hypervisor", "the name of a hypervisor");
    }
    parse_devices(fields, out);
    fields.done();
    return out;
}

} // namespace sky::submit
