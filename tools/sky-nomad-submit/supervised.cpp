// SPDX-License-Identifier: MIT
#include <sky-nomad-submit/supervised.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sky::submit {
namespace {

constexpr std::size_t kMost = 65536;

/// Empty when the process has gone, or has more to say than one of ours.
std::string read_small(const std::filesystem::path& file) {
    try {
        return read_file_if_exists(file, kMost).value_or("");
    } catch (const Error&) {
        return "";
    }
}

std::vector<std::string_view> arguments(std::string_view line) {
    std::vector<std::string_view> out;
    while (!line.empty()) {
        const auto end = std::min(line.find('\0'), line.size());
        out.push_back(line.substr(0, end));
        line.remove_prefix(std::min(end + 1, line.size()));
    }
    return out;
}

std::optional<MachinePath> machine_of(const Config& config, std::string_view line) {
    const auto args = arguments(line);
    const std::vector<std::string> ours{config.tool("sky-vm-run").string(), "--config",
                                        config.file.string(), "run"};
    // At the end: what went before them is an interpreter's, a wrapper's.
    const auto count = static_cast<std::ptrdiff_t>(ours.size()) + 1;
    if (static_cast<std::ptrdiff_t>(args.size()) < count ||
        !std::equal(ours.begin(), ours.end(), args.end() - count)) {
        return std::nullopt;
    }
    try {
        return MachinePath::parse_joined(args.back());
    } catch (const Error&) {
        return std::nullopt;
    }
}

/// All four uids are root's.
bool is_roots(std::string_view status) {
    const auto at = status.find("\nUid:");
    const auto line =
        at == status.npos ? "" : status.substr(at + 1, status.find('\n', at + 1) - at - 1);
    return line == "Uid:\t0\t0\t0\t0";
}

} // namespace

std::set<MachinePath> supervised(const Config& config, const Tenant& tenant,
                                 const std::filesystem::path& proc) {
    std::set<MachinePath> out;
    std::error_code unreadable;
    for (const auto& entry : std::filesystem::directory_iterator(proc, unreadable)) {
        const auto name = entry.path().filename().string();
        if (name.find_first_not_of("0123456789") != std::string::npos) {
            continue;
        }
        const auto path = machine_of(config, read_small(entry.path() / "cmdline"));
        if (path && path->tenant == tenant && is_roots(read_small(entry.path() / "status"))) {
            out.insert(*path);
        }
    }
    return out;
}

} // namespace sky::submit
