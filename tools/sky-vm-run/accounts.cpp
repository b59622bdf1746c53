// SPDX-License-Identifier: MIT
#include <sky-vm-run/accounts.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/process.hpp>

#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

namespace sky::vm {
namespace {

/// In the comment field of accounts that were made here.
constexpr const char* kComment = "Skyflake";

struct Entry {
    uid_t uid = 0;
    bool ours = false;
};

std::optional<Entry> find_account(const std::string& name) {
    std::vector<char> buffer(16384);
    passwd entry{};
    passwd* found = nullptr;
    if (::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 ||
        found == nullptr) {
        return std::nullopt;
    }
    return Entry{entry.pw_uid, std::string_view(entry.pw_gecos) == kComment};
}

bool has_group(const std::string& name) {
    std::vector<char> buffer(65536);
    group entry{};
    group* found = nullptr;
    return ::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) == 0 &&
           found != nullptr;
}

/// Data that an account of this name left behind belongs to the uid that it had.
std::optional<uid_t> former_uid(const Config& config, const HostAccount& account) {
    const bool cache = account.name == config.accounts.cache;
    struct stat info {};
    if ((!cache && account.name != config.accounts.deploy) ||
        ::stat((config.shared / (cache ? "cache" : "records")).c_str(), &info) != 0 ||
        info.st_uid == 0 || ::getpwuid(info.st_uid) != nullptr) {
        return std::nullopt;
    }
    return info.st_uid;
}

void add(const Config& config, const std::string& group, const HostAccount& account) {
    // A password that nothing matches; a locked account could not log in with a key either.
    std::vector<std::string> words{
        "--system",  "--user-group", "--no-create-home", "--home-dir", "/", "--password", "*",
        "--comment", kComment};
    if (account.tenant) {
        words.insert(words.end(),
                     {"--shell", config.tool("sky-shell").string(), "--groups", group});
    } else {
        words.insert(words.end(), {"--shell", "/usr/sbin/nologin"});
    }
    if (const auto uid = account.uid ? account.uid : former_uid(config, account)) {
        words.insert(words.end(), {"--uid", std::to_string(*uid)});
    }
    words.push_back(account.name);
    run_program("useradd", words);
}

} // namespace

void Steps::step(const std::string& what, const std::function<void()>& act) {
    ++count_;
    write_all(STDOUT_FILENO, (dry_run_ ? "would " : "") + what + "\n");
    if (!dry_run_) {
        act();
    }
}

std::string program_path(const std::string& name) {
    for (const char* directory :
         {"/usr/sbin", "/usr/bin", "/sbin", "/bin", "/run/current-system/sw/bin"}) {
        auto path = fmt::format("{}/{}", directory, name);
        if (::access(path.c_str(), X_OK) == 0) {
            return path;
        }
    }
    fail(ExitCode::kSystem, "no program '{}' on this host", name);
}

void run_program(const std::string& name, const std::vector<std::string>& arguments) {
    const Captured said = Command(program_path(name))
                              .args(arguments)
                              .capture("", 1U << 20U, std::chrono::minutes(5), true);
    if (said.exit_code != 0) {
        fail(ExitCode::kSystem, "{} ended with {}: {}", name, said.exit_code,
             printable(said.err.empty() ? said.out : said.err, 400));
    }
}

bool with_systemd() {
    return std::filesystem::exists("/run/systemd/system");
}

std::optional<std::string> clash_of(const HostAccount& account) {
    if (!account.uid) {
        return std::nullopt;
    }
    if (const auto there = find_account(account.name)) {
        return there->uid == *account.uid
                   ? std::nullopt
                   : std::optional(fmt::format("account '{}' has uid {} here, and {} in the "
                                               "configuration (give the tenant another name)",
                                               account.name, there->uid, *account.uid));
    }
    std::vector<char> buffer(16384);
    passwd entry{};
    passwd* found = nullptr;
    if (::getpwuid_r(*account.uid, &entry, buffer.data(), buffer.size(), &found) != 0 ||
        found == nullptr) {
        return std::nullopt;
    }
    return fmt::format("uid {} of '{}' is account '{}' here (keep others out of 'tenant_uids')",
                       *account.uid, account.name, entry.pw_name);
}

void make_accounts(const Config& config, const std::string& group,
                   const std::vector<HostAccount>& accounts, Steps& steps) {
    if (!has_group(group)) {
        steps.step(fmt::format("make group {}", group), [&] {
            run_program("groupadd", {"--system", group});
        });
    }
    for (const auto& account : accounts) {
        if (const auto why = clash_of(account)) {
            fail(ExitCode::kConfig, "{}", *why);
        }
        if (!find_account(account.name)) {
            steps.step(fmt::format("make account {}{}", account.name,
                                   account.uid ? fmt::format(" ({})", *account.uid) : ""),
                       [&] { add(config, group, account); });
        }
    }
}

std::optional<uid_t> uid_of_account(const std::string& name) {
    const auto entry = find_account(name);
    return entry ? std::optional(entry->uid) : std::nullopt;
}

void remove_accounts(const std::string& group, const std::vector<HostAccount>& accounts,
                     Steps& steps) {
    for (const auto& account : accounts) {
        const auto there = find_account(account.name);
        if (there && there->ours) {
            steps.step(fmt::format("remove account {}", account.name), [&] {
                run_program("userdel", {"--force", account.name});
                if (has_group(account.name)) {
                    run_program("groupdel", {account.name});
                }
            });
        }
    }
    if (!group.empty() && has_group(group)) {
        steps.step(fmt::format("remove group {}", group),
                   [&] { run_program("groupdel", {group}); });
    }
}

} // namespace sky::vm
