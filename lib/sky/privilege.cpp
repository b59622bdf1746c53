// SPDX-License-Identifier: MIT
#include <sky/privilege.hpp>

#include <sky/error.hpp>

#include <charconv>
#include <cstdlib>
#include <grp.h>
#include <pwd.h>
#include <string>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace sky {
namespace {

std::optional<uid_t> sudo_uid() {
    const char* text = std::getenv("SUDO_UID");
    if (text == nullptr) {
        return std::nullopt;
    }
    uid_t uid = 0;
    const std::string_view view(text);
    const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), uid);
    if (error != std::errc{} || end != view.data() + view.size()) {
        fail(ExitCode::kRefused, "SUDO_UID is not a number");
    }
    return uid;
}

Caller operator_caller() {
    return Caller{std::nullopt, true, false};
}

Caller caller_of(const Config& config, uid_t caller, bool to_root) {
    if (caller == 0) {
        return operator_caller();
    }
    if (auto tenant = config.tenant_of(caller)) {
        return Caller{std::move(tenant), false, false};
    }
    if (caller == account(config.accounts.deploy).uid) {
        return Caller{std::nullopt, false, true};
    }
    if (to_root) {
        return operator_caller(); // sudoers gives no tenant a rule for root: this is a person who
                                  // may be root
    }
    fail(ExitCode::kRefused, "uid {} is not a tenant of this host", caller);
}

/// What a caller could have left behind: environment, umask, directory. Descriptors >= 3 sudo has
/// closed.
void reset_process() {
    ::clearenv();
    ::setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
    ::setenv("LANG", "C.UTF-8", 1);
    ::umask(022);
    if (::chdir("/") != 0) {
        fail_errno("cannot enter '/'");
    }
}

} // namespace

Tenant Caller::tenant_for(const std::optional<std::string>& named) const {
    if (tenant) {
        if (named && *named != tenant->str()) {
            fail(ExitCode::kRefused, "a tenant can ask for nobody but itself");
        }
        return *tenant;
    }
    if (!named) {
        fail(ExitCode::kUsage, "which tenant? (name it in the request as \"tenant\")");
    }
    return Tenant::parse(*named);
}

Account account(const std::string& name) {
    std::vector<char> buffer(16384);
    passwd entry{};
    passwd* found = nullptr;
    const int error = ::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
    if (error != 0 || found == nullptr) {
        fail(ExitCode::kConfig, "no account '{}' on this host", name);
    }
    return {entry.pw_uid, entry.pw_gid};
}

void drop_to(Account a) {
    if (::setgroups(0, nullptr) != 0 || ::setresgid(a.gid, a.gid, a.gid) != 0 ||
        ::setresuid(a.uid, a.uid, a.uid) != 0) {
        fail_errno("cannot become uid {}", a.uid);
    }
#ifdef __SANITIZE_ADDRESS__
    ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); // LeakSanitizer attaches to its own process when it ends
#endif
}

Caller cross(const Config& config, const std::string& name, std::string_view tool,
             std::string_view verb, bool options) {
    const Account target = account(name);
    const uid_t self = ::geteuid();
    if (self == target.uid) {
        const uid_t caller = sudo_uid().value_or(self);
        Caller result =
            caller == self ? operator_caller() : caller_of(config, caller, target.uid == 0);
        reset_process();
        return result;
    }
    if (self == 0) {
        drop_to(target);
        reset_process();
        return operator_caller();
    }
    if (options) {
        throw UsageError("options of a verb are for root and the tool's own account (sudo's rules "
                         "fix the command line)");
    }
    crossing_command(config, name, tool, verb).in(0).exec();
}

Command crossing_command(const Config& config, const std::string& name, std::string_view tool,
                         std::string_view verb) {
    const bool direct = ::geteuid() == 0 || ::geteuid() == account(name).uid;
    Command command(direct ? config.tool(tool) : config.programs.sudo);
    if (!direct) {
        command.args({"-n", "-u", name, "--", config.tool(tool).string()});
    }
    return std::move(command.args({"--config", config.file.string(), std::string(verb)}));
}

} // namespace sky
