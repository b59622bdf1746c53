// SPDX-License-Identifier: MIT
#include <sky-nomad-submit/usage.hpp>

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/json.hpp>
#include <sky/lines.hpp>
#include <sky/lock.hpp>
#include <sky/log.hpp>
#include <sky/registry.hpp>
#include <sky/state.hpp>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <fcntl.h>
#include <fmt/format.h>
#include <limits>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <unistd.h>

namespace sky::submit {
namespace {

constexpr std::size_t kLineMost = 4096;
constexpr std::size_t kFileMost = std::size_t{64} << 20;
constexpr std::int64_t kNumberMost = std::int64_t{1} << 50;

std::int64_t now() {
    return std::chrono::duration_cast<std::chrono::seconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
}

/// "2026-11-22T10:00:00Z" or "2026-11-22".
std::optional<std::int64_t> seconds_of(const std::string& text) {
    std::tm parts{};
    const char* end = ::strptime(text.c_str(), "%Y-%m-%d", &parts);
    if (end != nullptr && *end == 'T') {
        end = ::strptime(end, "T%H:%M:%SZ", &parts);
    }
    return end != nullptr && *end == '\0' ? std::optional<std::int64_t>(::timegm(&parts))
                                          : std::nullopt;
}

std::int64_t time_option(const char* name, const std::optional<std::string>& text,
                         std::int64_t otherwise) {
    const auto out = text ? seconds_of(*text) : otherwise;
    if (!out) {
        throw UsageError(fmt::format("--{}: write 2026-11-22 or 2026-11-22T10:00:00Z", name));
    }
    return *out;
}

std::string time_text(std::int64_t seconds) {
    const std::time_t at = seconds;
    std::tm parts{};
    ::gmtime_r(&at, &parts);
    std::string out(32, '\0');
    out.resize(std::strftime(out.data(), out.size(), "%Y-%m-%dT%H:%M:%SZ", &parts));
    return out;
}

/// Whole lines: the last may be a dead writer's.
std::vector<Mark> parse_all(std::string_view text) {
    std::vector<Mark> out;
    std::size_t begin = 0;
    for (auto end = text.find('\n'); end != text.npos; end = text.find('\n', begin)) {
        if (end > begin) {
            out.push_back(Mark::parse(text.substr(begin, end - begin)));
        }
        begin = end + 1;
    }
    return out;
}

/// One that is damaged is of no amount: nothing stops for it, the next is written behind it.
bool is_of(std::string_view line, const Amount& amount) {
    try {
        return Mark::parse(line).amount == amount;
    } catch (const Error& e) {
        log::warn("{}", e.what());
        return false;
    }
}

std::string hours(std::uint64_t seconds, double unit) {
    return fmt::format("{:.2f}", static_cast<double>(seconds) / 3600.0 / unit);
}

} // namespace

Mark Mark::parse(std::string_view line) {
    const Json value = parse_json(line, kLineMost, "usage");
    Fields f(value, "usage");
    static_cast<void>(f.integer("v", 1, 1));
    Mark out;
    const auto at = seconds_of(f.string("at"));
    if (!at) {
        f.wrong("at", "a time");
    }
    out.at = *at;
    out.amount = {.vcpu = static_cast<std::uint64_t>(f.integer("vcpu", 0, kNumberMost)),
                  .mem_mib = static_cast<std::uint64_t>(f.integer("mem_mib", 0, kNumberMost)),
                  .disk_mib = static_cast<std::uint64_t>(f.integer("disk_mib", 0, kNumberMost))};
    return out; // no done(): its host may be a version ahead
}

std::string Mark::dump() const {
    return dump_json({{"v", 1},
                      {"at", time_text(at)},
                      {"vcpu", amount.vcpu},
                      {"mem_mib", amount.mem_mib},
                      {"disk_mib", amount.disk_mib}});
}

Used& Used::operator+=(const Used& other) {
    vcpu_s += other.vcpu_s;
    mem_mib_s += other.mem_mib_s;
    disk_mib_s += other.disk_mib_s;
    return *this;
}

Used used_between(const std::vector<Mark>& marks, std::int64_t from, std::int64_t to) {
    Used out;
    for (std::size_t i = 0; i < marks.size(); ++i) {
        const std::int64_t begin = std::max(marks[i].at, from);
        const std::int64_t end = i + 1 < marks.size() ? std::min(marks[i + 1].at, to) : to;
        if (end > begin) {
            const auto length = static_cast<std::uint64_t>(end - begin);
            out += {.vcpu_s = marks[i].amount.vcpu * length,
                    .mem_mib_s = marks[i].amount.mem_mib * length,
                    .disk_mib_s = marks[i].amount.disk_mib * length};
        }
    }
    return out;
}

Amount held_by(const MachineRecord& record) {
    Amount out = record.granted;
    if (!record.target() && record.did.state != MachineRecord::State::kRunning) {
        out.vcpu = 0;
        out.mem_mib = 0;
    }
    return out;
}

std::filesystem::path UsageBook::file(const MachinePath& path) const {
    return shared_ / "records" / path.tenant.str() / path.repo.str() /
           (path.machine.str() + ".usage");
}

std::vector<Mark> UsageBook::marks(const MachinePath& path) const {
    const auto text = read_file_if_exists(file(path), kFileMost).value_or("");
    try {
        return parse_all(text);
    } catch (const Error& e) {
        throw Error(ExitCode::kData, fmt::format("'{}' is damaged: {} (take the line out)",
                                                 file(path).string(), e.what()));
    }
}

void UsageBook::note(const MachinePath& path, const Amount& amount) const {
    if (amount == Amount{} && !std::filesystem::exists(file(path))) {
        return; // it never held anything
    }
    const Fd fd = open_file(file(path), O_RDWR | O_CREAT | O_APPEND, 0640);
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) {
        fail_errno("cannot stat the account of '{}'", path.text());
    }
    std::string tail(std::min<std::size_t>(static_cast<std::size_t>(info.st_size), kLineMost), 0);
    const auto n =
        ::pread(fd.get(), tail.data(), tail.size(), info.st_size - static_cast<off_t>(tail.size()));
    if (n != static_cast<ssize_t>(tail.size())) {
        fail_errno("cannot read the account of '{}'", path.text());
    }
    const bool torn = !tail.empty() && tail.back() != '\n';
    const auto end = tail.rfind('\n');
    const auto begin = end == tail.npos || end == 0 ? tail.npos : tail.rfind('\n', end - 1);
    if (end != tail.npos && !torn) {
        const auto from = begin == tail.npos ? 0 : begin + 1;
        if (is_of(std::string_view(tail).substr(from, end - from), amount)) {
            return;
        }
    }
    if (torn && ::ftruncate(fd.get(), info.st_size - static_cast<off_t>(
                                                         tail.size() -
                                                         (end == tail.npos ? 0 : end + 1))) != 0) {
        fail_errno("cannot mend the account of '{}'", path.text());
    }
    write_all(fd.get(), Mark{.at = now(), .amount = amount}.dump() + "\n");
    if (::fdatasync(fd.get()) != 0) {
        fail_errno("cannot write the account of '{}'", path.text());
    }
}

namespace {

/// Calls f for each machine of the tenant with an account.
template <typename F>
void each_account(const std::filesystem::path& shared, const Tenant& tenant, const F& f) {
    std::error_code missing;
    for (const auto& repo :
         std::filesystem::directory_iterator(shared / "records" / tenant.str(), missing)) {
        const auto name = repo.path().filename().string();
        if (!Repo::valid(name)) {
            continue;
        }
        for (const auto& entry : std::filesystem::directory_iterator(repo.path())) {
            if (!entry.path().native().ends_with(".usage")) { // there are more records than these
                continue;
            }
            if (const auto stem = entry.path().stem().string(); Machine::valid(stem)) {
                f(MachinePath{tenant, Repo::parse(name), Machine::parse(stem)});
            }
        }
    }
}

} // namespace

Used UsageBook::of_tenant(const Tenant& tenant, std::int64_t from, std::int64_t to) const {
    Used out;
    each_account(shared_, tenant,
                 [&](const MachinePath& path) { out += used_between(marks(path), from, to); });
    return out;
}

std::vector<MachinePath> UsageBook::left_behind(const Tenant& tenant) const {
    std::vector<MachinePath> out;
    const State state(shared_);
    each_account(shared_, tenant, [&](const MachinePath& path) {
        if (!std::filesystem::exists(state.record(path))) {
            out.push_back(path);
        }
    });
    return out;
}

namespace {

void settle_account(const UsageBook& accounts, const Records& records, const Registry& registry,
                    const MachinePath& path) {
    Amount keeps;
    if (const auto kept = registry.kept.find(path.joined()); kept != registry.kept.end()) {
        for (const auto& [name, disk] : kept->second) {
            keeps.disk_mib += disk.size_mib;
        }
    }
    const auto marks = accounts.marks(path);
    if (marks.empty() || marks.back().amount == keeps || registry.find(path) != nullptr) {
        return;
    }
    Lock lock = Lock::take(records.machine_lock(path), "sky-nomad-submit", std::chrono::seconds(5));
    if (!records.load(path)) {
        accounts.note(path, keeps);
        lock.remove(records.machine_lock(path));
    }
}

} // namespace

bool settle_accounts(const Config& config) {
    const UsageBook accounts(config.shared);
    const Records records(config.shared);
    const Registry registry = load_registry(config);
    bool good = true;
    for (const auto& [tenant, entry] : config.tenants) {
        for (const auto& path : accounts.left_behind(tenant)) {
            try {
                settle_account(accounts, records, registry, path);
            } catch (const Error& e) { // one must not hide the others
                log::error("{}", e.what());
                good = false;
            }
        }
    }
    return good;
}

int usage(const Config& config, const std::optional<std::string>& since,
          const std::optional<std::string>& until, bool json) {
    const std::int64_t to = std::min(time_option("until", until, now()), now());
    const std::int64_t from = time_option("since", since, 0);
    const UsageBook accounts(config.shared);
    const bool table = !json && ::isatty(STDOUT_FILENO) == 1;
    constexpr double kGib = 1024.0;
    if (table) {
        write_all(STDOUT_FILENO, fmt::format("{:<32}{:>14}{:>14}{:>14}\n", "TENANT", "VCPU-H",
                                             "MEM-GIB-H", "DISK-GIB-H"));
    }
    bool good = true;
    for (const auto& [tenant, entry] : config.tenants) {
        Used used;
        try {
            used = accounts.of_tenant(tenant, from, to);
        } catch (const Error& e) { // one must not hide the others, nor be told too little
            log::error("{}: {}", tenant.str(), e.what());
            good = false;
            continue;
        }
        if (table) {
            write_all(STDOUT_FILENO,
                      fmt::format("{:<32}{:>14}{:>14}{:>14}\n", tenant.str(), hours(used.vcpu_s, 1),
                                  hours(used.mem_mib_s, kGib), hours(used.disk_mib_s, kGib)));
        } else {
            write_line(STDOUT_FILENO, {{"v", 1},
                                       {"tenant", tenant.str()},
                                       {"since", time_text(from)},
                                       {"until", time_text(to)},
                                       {"vcpu_s", used.vcpu_s},
                                       {"mem_mib_s", used.mem_mib_s},
                                       {"disk_mib_s", used.disk_mib_s}});
        }
    }
    return code(good ? ExitCode::kOk : ExitCode::kSomeFailed);
}

} // namespace sky::submit
