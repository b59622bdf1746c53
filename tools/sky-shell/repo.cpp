// SPDX-License-Identifier: MIT
#include <sky-shell/repo.hpp>

#include "sky-shell/git-command.hpp"

#include <sky/error.hpp>
#include <sky/log.hpp>

#include <algorithm>
#include <fcntl.h>
#include <sstream>
#include <system_error>
#include <unistd.h>

namespace sky::shell {
namespace {

namespace fs = std::filesystem;

void sync_directory(const fs::path& directory) {
    const Fd fd = open_file(directory, O_RDONLY | O_DIRECTORY);
    if (::fsync(fd.get()) != 0) {
        fail_errno("cannot sync '{}'", directory.string());
    }
}

/// git init syncs nothing of what it writes.
void sync_all_of(const fs::path& directory) {
    const Fd fd = open_file(directory, O_RDONLY | O_DIRECTORY);
    if (::syncfs(fd.get()) != 0) {
        fail_errno("cannot sync '{}'", directory.string());
    }
}

bool is_ref_lock(const fs::directory_entry& entry) {
    return entry.path().extension() == ".lock"; // no branch's name holds a dot
}

/// Under way, or a pack that no gc may touch.
bool is_half_come_in(const fs::directory_entry& entry) {
    return entry.path().filename().string().starts_with("tmp_") ||
           entry.path().extension() == ".keep";
}

template <typename Iterator>
void remove_if(const fs::path& directory, bool (*wanted)(const fs::directory_entry&)) {
    std::vector<fs::path> found;
    for (const auto& entry : Iterator(directory)) {
        if (wanted(entry)) {
            found.push_back(entry.path());
        }
    }
    for (const auto& path : found) {
        fs::remove_all(path);
    }
}

} // namespace

void create_repo(const Session& session, const Repo& repo) {
    const auto path = session.repo(repo);
    if (fs::is_directory(path)) {
        return;
    }
    // No repo's name holds a dot, and the lock makes us the only one here: what stands there is the
    // rest of an interrupted creation.
    const auto fresh = session.state.repos(session.tenant) / (".new." + repo.str());
    std::error_code ignored; // what can not be removed makes git init fail
    fs::remove_all(fresh, ignored);
    const auto done = git_command(session, repo, new_build_id())
                          .args({"init", "--quiet", "--bare",
                                 "--template=", "--initial-branch=main", "--", fresh.string()})
                          .capture("", 65536, std::chrono::seconds(60), true);
    if (done.exit_code != 0) {
        fail(ExitCode::kIo, "cannot make repository '{}': {}", repo.str(),
             printable(done.err, 200));
    }
    sync_all_of(fresh);
    if (::rename(fresh.c_str(), path.c_str()) != 0) {
        fail_errno("cannot make repository '{}'", repo.str());
    }
    sync_directory(path.parent_path());
}

void sweep_repo(const Session& session, const Repo& repo) noexcept {
    try {
        const auto path = session.repo(repo);
        remove_if<fs::directory_iterator>(path, is_ref_lock);
        remove_if<fs::recursive_directory_iterator>(path / "refs", is_ref_lock);
        remove_if<fs::directory_iterator>(path / "objects", is_half_come_in);
        remove_if<fs::directory_iterator>(path / "objects/pack", is_half_come_in);
    } catch (const std::exception& e) { // git says what is in its way
        log::debug("sweep: {}", e.what());
    }
}

void require_repo(const Session& session, const Repo& repo) {
    if (!fs::is_directory(session.repo(repo))) {
        fail(ExitCode::kRefused, "repository '{}' is not there or not yours (a push makes it)",
             repo.str());
    }
}

void tidy_repo(const Session& session, const Repo& repo) noexcept {
    constexpr std::ptrdiff_t kManyPacks = 50;
    try {
        const auto packs = session.repo(repo) / "objects/pack";
        const auto count = std::count_if(
            fs::directory_iterator(packs), fs::directory_iterator(),
            [](const fs::directory_entry& entry) { return entry.path().extension() == ".pack"; });
        if (count > kManyPacks) {
            log::say("-----> tidying up the repository");
            static_cast<void>(git_command(session, repo, new_build_id())
                                  .args({"-C", session.repo(repo).string(), "gc", "--quiet"})
                                  .capture("", 65536, std::chrono::minutes(10), true));
        }
    } catch (const std::exception& e) {
        log::debug("gc: {}", e.what());
    }
}

std::vector<Repo> list_repos(const Session& session) {
    std::vector<Repo> repos;
    const auto directory = session.state.repos(session.tenant);
    std::error_code error;
    for (fs::directory_iterator at(directory, error), end; !error && at != end;
         at.increment(error)) {
        const auto name = at->path().filename();
        if (name.extension() == ".git" && Repo::valid(name.stem().string())) {
            repos.push_back(Repo::parse(name.stem().string()));
        }
    }
    if (error) {
        fail(ExitCode::kIo, "cannot read '{}': {}", directory.string(), error.message());
    }
    std::sort(repos.begin(), repos.end());
    return repos;
}

std::map<Revision, std::string> commits_among(const Session& session, const Repo& repo,
                                              const BuildId& build,
                                              const std::set<Revision>& revs) {
    if (revs.empty()) {
        return {};
    }
    std::string names;
    for (const auto& rev : revs) {
        names += fmt::format("{0}\n{0}^{{tree}}\n", rev.str());
    }
    const auto said = git_command(session, repo, build)
                          .args({"-C", session.repo(repo).string(), "cat-file",
                                 "--batch-check=%(objecttype) %(objectname)"})
                          .capture(names, names.size() * 2 + 65536, std::chrono::seconds(60), true);
    if (said.exit_code != 0) {
        fail(ExitCode::kIo, "cannot read repository '{}': {}", repo.str(),
             printable(said.err, 200));
    }
    constexpr std::string_view kTree = "tree ";
    std::istringstream lines(said.out);
    std::map<Revision, std::string> commits;
    for (const auto& rev : revs) {
        std::string itself;
        std::string tree;
        std::getline(lines, itself);
        std::getline(lines, tree);
        if (itself == "commit " + rev.str() && tree.starts_with(kTree)) {
            commits.emplace(rev, tree.substr(kTree.size()));
        }
    }
    return commits;
}

} // namespace sky::shell
