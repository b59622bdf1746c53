// SPDX-License-Identifier: MIT
#include <sky-build/progress.hpp>

#include <sky-build/nix.hpp>
#include <sky/log.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <fcntl.h>

namespace sky::build {

namespace {

constexpr std::size_t kLineCap = 4096;

bool starts(std::string_view text, std::string_view prefix) {
    return text.rfind(prefix, 0) == 0;
}

/// "foo" of "... '/nix/store/HASH-foo.drv'...", or nothing.
std::string quoted_name(std::string_view line) {
    const std::size_t open = line.find('\'');
    const std::size_t close = open == std::string_view::npos ? open : line.find('\'', open + 1);
    if (close == std::string_view::npos) {
        return {};
    }
    std::string_view name = line.substr(open + 1, close - open - 1);
    constexpr std::size_t kPrefix = std::char_traits<char>::length("/nix/store/") + 33;
    if (starts(name, "/nix/store/") && name.size() > kPrefix) {
        name.remove_prefix(kPrefix);
    }
    if (name.size() > 4 && name.substr(name.size() - 4) == ".drv") {
        name.remove_suffix(4);
    }
    return std::string(name);
}

} // namespace

std::string Tag::step(std::string_view text) const {
    return fmt::format("-----> [{}/{}] {}  {}  {}", index, total, machine, rev.substr(0, 7), text);
}

std::string Tag::error(std::string_view text) const {
    return fmt::format("error: [{}/{}] {}: {}", index, total, machine, text);
}

std::optional<std::string> digest_line(std::string_view raw) {
    const std::string line = plain_line(raw);
    if (starts(line, "building '/nix/store/")) {
        return "building " + quoted_name(line);
    }
    if (starts(line, "copying path '")) {
        return "fetching " + quoted_name(line);
    }
    if (starts(line, "downloading '") || starts(line, "unpacking '")) {
        return line.substr(0, line.find(' ')) + " " + quoted_name(line);
    }
    if (starts(line, "these ") && line.find("derivations will be built") != std::string::npos) {
        return line.substr(6, line.find(' ', 6) - 6) + " derivations to build";
    }
    if (starts(line, "trace: ")) {
        return line;
    }
    const bool ours = line.find("you don't have Internet access") != std::string::npos ||
                      line.find("SQLite database") != std::string::npos ||
                      line.find("--add-root") != std::string::npos ||
                      line.find("creating lock file") != std::string::npos ||
                      line.find("updating lock file") != std::string::npos;
    if ((starts(line, "warning: ") || starts(line, "evaluation warning: ")) && !ours) {
        return line;
    }
    return std::nullopt;
}

std::vector<std::string> error_tail(std::string_view log, std::size_t most, std::size_t width) {
    std::vector<std::string> lines;
    while (!log.empty()) {
        const std::size_t end = std::min(log.find('\n'), log.size());
        std::string line = plain_line(log.substr(0, end));
        log.remove_prefix(std::min(end + 1, log.size()));
        line.erase(line.find_last_not_of(' ') + 1);
        // What nix indents a trace by is our own indent already.
        line.erase(0, std::min<std::size_t>(7, line.find_first_not_of(' ')));
        if (!line.empty() && !starts(line, "/nix/store/") && !starts(line, "  /nix/store/") &&
            !digest_line(line) && !starts(line, "this derivation will be built")) {
            lines.push_back(without_hashes(line));
        }
    }
    if (lines.size() > most) {
        lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(most));
    }
    std::vector<std::string> wrapped;
    for (const std::string& line : lines) {
        for (const std::string& part : wrap(line, width)) {
            wrapped.push_back("       " + part);
        }
    }
    return wrapped;
}

std::string_view last_error(std::string_view log) {
    std::size_t start = 0;
    for (std::size_t at = 0; at < log.size();) {
        const std::size_t end = std::min(log.find('\n', at), log.size());
        const std::string line = plain_line(log.substr(at, end - at));
        const std::size_t text = line.find_first_not_of(' ');
        if (text != std::string::npos && starts(std::string_view(line).substr(text), "error: ")) {
            start = at;
        }
        at = end + 1;
    }
    return log.substr(start);
}

std::vector<std::string> wrap(std::string_view text, std::size_t width) {
    std::vector<std::string> lines;
    while (text.size() > width) {
        const std::size_t space = text.rfind(' ', width);
        const std::size_t end =
            space == std::string_view::npos || space < width / 2 ? width : space;
        lines.emplace_back(text.substr(0, end));
        text.remove_prefix(end);
        text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
    }
    lines.emplace_back(text);
    return lines;
}

BuildLog::BuildLog(const std::filesystem::path& file, std::string machine)
    : fd_(open_file(file, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600)),
      machine_(std::move(machine)) {}

void BuildLog::feed(std::string_view data) {
    if (size_ < kLogCap) {
        const std::string_view kept = data.substr(
            0, static_cast<std::size_t>(std::min<std::uint64_t>(data.size(), kLogCap - size_)));
        write_all(fd_.get(), kept);
        size_ += kept.size();
        if (size_ == kLogCap) {
            write_all(fd_.get(), "\n(the rest is left out)\n");
        }
    }
    for (const char c : data) {
        if (c == '\n') {
            tell(partial_);
            partial_.clear();
        } else if (partial_.size() < kLineCap) {
            partial_ += c;
        }
    }
}

void BuildLog::tell(std::string_view line) {
    const auto text = digest_line(line);
    const auto now = std::chrono::steady_clock::now();
    // A large system has thousands of derivations: one line a second says that it goes on.
    if (text && now - told_ >= std::chrono::seconds(1)) {
        told_ = now;
        log::say(short_text(fmt::format("       {}: {}", machine_, *text), 71));
    }
}

} // namespace sky::build
