// SPDX-License-Identifier: MIT
#include <sky-shell/git-command.hpp>

#include <fmt/format.h>

namespace sky::shell {

std::vector<std::pair<std::string, std::string>> git_settings(const Config& config,
                                                              const std::filesystem::path& repo) {
    return {
        {"core.hooksPath", config.hooks.string()},
        {"core.fsmonitor", "false"},
        // A branch is the desired state: it must survive a power cut, packs' indices with it.
        {"core.fsync", "committed,derived-metadata"},
        {"safe.directory", repo.string()},
        {"receive.procReceiveRefs", "refs"}, // every ref: the hook answers what is no branch too
        {"receive.advertisePushOptions", "true"},
        {"receive.fsckObjects", "true"},
        {"receive.maxInputSize", std::to_string(config.push.max_mib << 20)},
        {"receive.unpackLimit", "1"}, // always a pack: no flood of loose objects
        {"receive.denyDeletes", "false"},
        {"receive.denyDeleteCurrent", "ignore"}, // deleting the branch HEAD names stops a machine
        {"receive.denyNonFastForwards", "false"},
        {"receive.shallowUpdate", "false"},
        {"receive.autogc", "false"},
        {"receive.keepAlive", "1"}, // a client whose git died shows when it is written to
        {"gc.auto", "0"},
        {"maintenance.auto", "false"},
        {"transfer.hideRefs", "refs/sky"},
        {"transfer.fsckObjects", "true"},
    };
}

std::optional<std::string> checked_protocol(std::string_view text) {
    constexpr std::string_view kVersion = "version=";
    const bool good = text.size() == kVersion.size() + 1 && text.starts_with(kVersion) &&
                      text.back() >= '0' && text.back() <= '2';
    return good ? std::optional(std::string(text)) : std::nullopt;
}

Command git_command(const Session& session, const Repo& repo, const BuildId& build) {
    return git_command(session, repo, build, session.config.programs.git);
}

Command git_command(const Session& session, const Repo& repo, const BuildId& build,
                    const std::filesystem::path& program) {
    const auto& config = session.config;
    Command git(program);
    git.clear_env()
        .env("PATH", fmt::format("{}:{}:/usr/sbin:/usr/bin:/sbin:/bin", config.bin.string(),
                                 config.programs.git.parent_path().string()))
        .env("LANG", "C.UTF-8")
        .env("HOME", session.state.tenant(session.tenant).string())
        .env("SKY_CONFIG", config.file.string())
        .env("SKY_REPO", repo.str())
        .env("SKY_BUILD", build.str())
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_DEFAULT_HASH", "sha1")
        .env("GIT_DEFAULT_REF_FORMAT", "files");
    const auto settings = git_settings(config, session.repo(repo));
    git.env("GIT_CONFIG_COUNT", std::to_string(settings.size()));
    for (std::size_t i = 0; i < settings.size(); ++i) {
        git.env(fmt::format("GIT_CONFIG_KEY_{}", i), settings[i].first);
        git.env(fmt::format("GIT_CONFIG_VALUE_{}", i), settings[i].second);
    }
    return git;
}

} // namespace sky::shell
