// SPDX-License-Identifier: MIT
#include <sky-net-setup/members.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <sstream>

namespace sky::net {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kFileCap = 16U << 20U;
constexpr std::string_view kEnding = ".machines";

std::string line_of(const MachineNet& machine, std::size_t k) {
    return fmt::format("{} {} {} {}", machine.path.joined(), machine.index, k,
                       machine.ports.at(k).address.str());
}

std::vector<fs::path> files_in(const fs::path& directory) {
    std::vector<fs::path> result;
    for (const auto& entry : fs::directory_iterator(directory)) {
        if (entry.path().extension() == kEnding) {
            result.push_back(entry.path());
        }
    }
    return result;
}

} // namespace

fs::path Members::file(const std::string& bridge) const {
    return directory_ / (bridge + std::string(kEnding));
}

std::vector<std::string> Members::others(const std::string& bridge, const MachinePath& path) const {
    std::vector<std::string> lines;
    const std::string own = path.joined() + " ";
    std::istringstream text(read_file_if_exists(file(bridge), kFileCap).value_or(""));
    for (std::string line; std::getline(text, line);) {
        if (!line.starts_with(own)) {
            lines.push_back(line);
        }
    }
    return lines;
}

void Members::write(const std::string& bridge, const std::vector<std::string>& lines) const {
    if (lines.empty()) {
        fs::remove(file(bridge));
        return;
    }
    std::string text;
    for (const std::string& line : lines) {
        text += line + "\n";
    }
    atomic_write(file(bridge), text, {.mode = 0600, .durable = false});
}

std::vector<MachineNet> Members::beside(const Port& port, const MachinePath& path,
                                        const std::string& prefix) const {
    std::vector<MachineNet> result;
    for (const std::string& line : others(port.bridge, path)) {
        std::istringstream words(line);
        std::string joined;
        std::string address;
        std::uint32_t index = 0;
        std::uint32_t k = 0;
        if (!(words >> joined >> index >> k >> address)) {
            fail(ExitCode::kData, "'{}' has a line that is none", file(port.bridge).string());
        }
        Port one = port;
        one.outside = tap_name(prefix, index, k);
        one.mac = machine_mac(index, k);
        one.address = Ipv4::parse(address);
        result.push_back({MachinePath::parse_joined(joined), index, 0, {std::move(one)}});
    }
    return result;
}

bool Members::any() const {
    return !files_in(directory_).empty();
}

void Members::add(const MachineNet& machine) const {
    for (std::size_t k = 0; k < machine.ports.size(); ++k) {
        auto lines = others(machine.ports[k].bridge, machine.path);
        const std::string line = line_of(machine, k);
        lines.insert(std::upper_bound(lines.begin(), lines.end(), line), line);
        write(machine.ports[k].bridge, lines);
    }
}

void Members::remove(const MachineNet& machine) const {
    for (const Port& port : machine.ports) {
        write(port.bridge, others(port.bridge, machine.path));
    }
}

void Members::replace(const std::vector<MachineNet>& machines) const {
    std::map<std::string, std::vector<std::string>> segments;
    for (const MachineNet& machine : machines) {
        for (std::size_t k = 0; k < machine.ports.size(); ++k) {
            segments[machine.ports[k].bridge].push_back(line_of(machine, k));
        }
    }
    for (const fs::path& old : files_in(directory_)) {
        if (!segments.contains(old.stem().string())) {
            fs::remove(old);
        }
    }
    for (auto& [bridge, lines] : segments) {
        std::sort(lines.begin(), lines.end());
        write(bridge, lines);
    }
}

} // namespace sky::net
