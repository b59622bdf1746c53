// SPDX-License-Identifier: MIT
#include "gc.hpp"
#include "cache.hpp"

#include <sky/error.hpp>
#include <sky/hash.hpp>
#include <sky/json.hpp>
#include <sky/lines.hpp>
#include <sky/log.hpp>
#include <sky/narinfo.hpp>
#include <sky/record.hpp>

#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <unistd.h>

namespace sky::cache {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kCap = 1U << 20U;

/// Calls f(repo, path) for each file STATE/KIND/T/R/NAME; names that are no names of ours are
/// errors, but those that begin with a dot: locks, and what is being written.
template <typename F>
void each_machine_file(const fs::path& tenant_directory, F&& f) {
    if (!fs::exists(tenant_directory)) {
        return;
    }
    for (const auto& repo : fs::directory_iterator(tenant_directory)) {
        if (repo.path().filename().string().front() == '.') {
            continue;
        }
        for (const auto& entry : fs::directory_iterator(repo.path())) {
            if (entry.path().filename().string().front() != '.') {
                f(Repo::parse(repo.path().filename().string()), entry.path());
            }
        }
    }
}

void add_revision(Fields& f, const char* key, Wanted& wanted) {
    if (const auto rev = f.optional_string(key)) {
        wanted.revs.insert(Revision::parse(*rev));
    }
}

std::int64_t age_of(const fs::path& file, std::int64_t now) {
    struct stat info {};
    if (::lstat(file.c_str(), &info) != 0) {
        fail_errno("cannot stat '{}'", file.string());
    }
    return now - info.st_mtim.tv_sec;
}

/// One tenant's sweep: mark from the roots, then take away from the referring end: records,
/// narinfos, NARs.
class Sweep {
  public:
    Sweep(const Config& config, Tenant tenant, const std::map<std::string, Wanted>& wanted,
          const GcOptions& options)
        : state_(config), tenant_(std::move(tenant)), wanted_(wanted), options_(options),
          cache_(state_, tenant_), now_(std::time(nullptr)) {}

    Json run() {
        if (!options_.dry_run) {
            cache_.prepare();
        } else if (!fs::exists(cache_.staging())) {
            return report(); // nothing was ever pushed
        }
        const auto lock = cache_.lock();
        mark();
        sweep_infos();
        for (const auto& [file, roots] : new_roots_) {
            change([&, &path = file, &left = roots] {
                left.empty() ? remove_file(path) : save_roots(path, left);
            });
        }
        for (const auto& file : doomed_) {
            remove(file);
        }
        sweep_nars();
        change([&] { Staging::sweep(cache_.staging()); });
        return report();
    }

  private:
    [[nodiscard]] Json report() const {
        return {{"v", 1},
                {"tenant", tenant_.str()},
                {"paths", paths_},
                {"removed_paths", removed_paths_},
                {"removed_records", removed_records_},
                {"removed_bytes", removed_bytes_}};
    }

    void mark() {
        std::map<std::string, std::set<Revision>> kept;
        each_machine_file(state_.shared() / "gcroots" / tenant_.str(), [&](const Repo& repo,
                                                                           const fs::path& file) {
            const MachinePath machine{tenant_, repo, Machine::parse(file.filename().string())};
            const auto roots = load_roots(file);
            const auto left = roots_to_keep(roots, wanted_of(machine), options_, now_);
            if (left != roots) {
                new_roots_[file] = left;
            }
            for (const auto& root : left) {
                kept[machine.joined()].insert(root.rev);
                mark_from_cache(root.deployment); // a push that has no record yet
            }
        });
        each_machine_file(state_.shared() / "deployments" / tenant_.str(), [&](const Repo& repo,
                                                                               const fs::path&
                                                                                   directory) {
            const MachinePath machine{tenant_, repo, Machine::parse(directory.filename().string())};
            const auto& wanted = wanted_of(machine);
            for (const auto& entry : fs::directory_iterator(directory)) {
                if (entry.path().extension() != ".json") {
                    continue; // a temporary file
                }
                const auto rev = Revision::parse(entry.path().stem().string());
                if (kept[machine.joined()].contains(rev) || wanted.revs.contains(rev) ||
                    age_of(entry.path(), now_) < options_.grace_s) {
                    for (const auto& path : record_in(entry.path()).closure) {
                        live_.insert(path.path);
                    }
                } else {
                    doomed_.push_back(entry.path());
                    ++removed_records_;
                }
            }
        });
    }

    /// What one that can not be read would keep is not known, so nothing is swept.
    static Record record_in(const fs::path& file) {
        try {
            return parse_record(read_file(file, kRecordCap));
        } catch (const Error& e) {
            fail(e.code(), "'{}': {} (push that machine again, or remove it)", file.string(),
                 e.what());
        }
    }

    void mark_from_cache(const StorePath& top) {
        std::vector<StorePath> open{top};
        while (!open.empty()) {
            const auto path = std::move(open.back());
            open.pop_back();
            if (!live_.insert(path).second) {
                continue;
            }
            if (const auto info = cache_.find(path)) {
                open.insert(open.end(), info->references.begin(), info->references.end());
            }
        }
    }

    void sweep_infos() {
        for (const auto& entry : fs::directory_iterator(cache_.directory())) {
            if (entry.path().extension() != ".narinfo") {
                continue;
            }
            const auto info = readable(entry.path()); // nobody takes another for anything any more
            const bool damaged = info && options_.check && !cache_.sound(*info);
            if (damaged) {
                damaged_.insert(cache_.directory() / info->url());
            }
            if (info && !damaged &&
                (live_.contains(info->path) || age_of(entry.path(), now_) < options_.grace_s)) {
                keep_files_.insert(cache_.directory() / info->url());
                ++paths_;
            } else {
                doomed_.push_back(entry.path());
                ++removed_paths_;
            }
        }
    }

    void sweep_nars() {
        std::vector<fs::path> files;
        for (const auto& entry : fs::directory_iterator(cache_.directory() / "nar")) {
            const bool needed =
                keep_files_.contains(entry.path()) || age_of(entry.path(), now_) < options_.grace_s;
            if (!needed || damaged_.contains(entry.path())) {
                files.push_back(entry.path());
            }
        }
        for (const auto& file : files) {
            removed_bytes_ += fs::file_size(file);
            remove(file);
        }
    }

    static std::optional<NarInfo> readable(const fs::path& file) {
        try {
            return parse_narinfo(read_file(file, kNarInfoCap));
        } catch (const Error& e) {
            log::warn("'{}': {} (a push brings it anew)", file.string(), e.what());
            return std::nullopt;
        }
    }

    [[nodiscard]] const Wanted& wanted_of(const MachinePath& machine) const {
        static const Wanted none;
        const auto at = wanted_.find(machine.joined());
        return at == wanted_.end() ? none : at->second;
    }

    template <typename F>
    void change(F&& f) {
        if (!options_.dry_run) {
            f();
        }
    }

    static void remove_file(const fs::path& file) {
        if (::unlink(file.c_str()) != 0 && errno != ENOENT) {
            fail_errno("cannot remove '{}'", file.string());
        }
    }

    void remove(const fs::path& file) {
        log::debug("remove {}", file.string());
        change([&] { remove_file(file); });
    }

    State state_;
    Tenant tenant_;
    const std::map<std::string, Wanted>& wanted_;
    const GcOptions& options_;
    Cache cache_;
    std::int64_t now_;
    std::set<StorePath> live_;
    std::set<fs::path> keep_files_; ///< NARs that a narinfo which stays names
    std::set<fs::path> damaged_;    ///< NARs that go, however young
    std::map<fs::path, Roots> new_roots_;
    std::vector<fs::path> doomed_; ///< records, then narinfos
    std::uint64_t paths_ = 0;
    std::uint64_t removed_paths_ = 0;
    std::uint64_t removed_records_ = 0;
    std::uint64_t removed_bytes_ = 0;
};

} // namespace

namespace {

/// What this host runs, or was told to: a machine that was not restarted still runs from the
/// revision of its last start.
void add_host(const State& state, std::map<std::string, Wanted>& all) {
    if (!fs::exists(state.root() / "vm")) {
        return;
    }
    for (const auto& entry : fs::directory_iterator(state.root() / "vm")) {
        const auto machine = MachinePath::parse_joined(entry.path().filename().string());
        auto& wanted = all[machine.joined()];
        if (const auto text = read_file_if_exists(entry.path() / "spec.json", kCap)) {
            const auto value = parse_json(*text, kCap, "spec.json");
            Fields spec(value, "spec.json");
            add_revision(spec, "rev", wanted);
        }
        if (const auto text = read_file_if_exists(entry.path() / "running.json", kCap)) {
            const auto value = parse_json(*text, kCap, "running.json");
            Fields running(value, "running.json");
            Fields spec(running.any("spec"), "running.json.spec");
            add_revision(spec, "rev", wanted);
        }
    }
}

} // namespace

Wanted parse_wanted(std::string_view text) {
    const auto value = parse_json(text, kCap, "record");
    Fields f(value, ""); // the format is sky-nomad-submit's; four keys of it are read
    Wanted wanted;
    wanted.gone = !f.has("rev");
    add_revision(f, "rev", wanted);
    for (const char* key : {"pin", "did"}) {
        if (f.has(key)) {
            Fields inner(f.any(key), key);
            add_revision(inner, "rev", wanted);
            add_revision(inner, "job", wanted);
        }
    }
    return wanted;
}

std::map<std::string, Wanted> read_wanted(const Config& config) {
    if (::geteuid() != 0) {
        fail(ExitCode::kRefused, "gc reads the deploy account's records (run it as root)");
    }
    const State state(config);
    std::map<std::string, Wanted> all;
    for (const auto& [tenant, settings] : config.tenants) {
        each_machine_file(
            state.shared() / "records" / tenant.str(),
            [&, &owner = tenant](const Repo& repo, const fs::path& file) {
                if (file.extension() != ".json") {
                    return;
                }
                if (const auto text = read_file_if_exists(file, kCap)) { // else just forgotten
                    const MachinePath machine{owner, repo, Machine::parse(file.stem().string())};
                    all[machine.joined()] = parse_wanted(*text);
                }
            });
    }
    add_host(state, all);
    return all;
}

Roots roots_to_keep(const Roots& roots, const Wanted& wanted, const GcOptions& options,
                    std::int64_t now) {
    Roots left;
    for (std::size_t i = 0; i < roots.size(); ++i) {
        const bool young = now - roots[i].at < options.grace_s;
        const bool recent = !wanted.gone && i < options.keep;
        if (young || recent || wanted.revs.contains(roots[i].rev)) {
            left.push_back(roots[i]);
        }
    }
    return left;
}

int collect_garbage(const Config& config, const std::map<std::string, Wanted>& wanted,
                    const GcOptions& options, int out) {
    int result = 0;
    if (options.tenant) {
        static_cast<void>(config.tenant(Tenant::parse(*options.tenant)));
    }
    for (const auto& [tenant, settings] : config.tenants) {
        if (options.tenant && tenant.str() != *options.tenant) {
            continue;
        }
        Json swept;
        try {
            swept = Sweep(config, tenant, wanted, options).run();
        } catch (const Error& e) {
            log::error("{}: left as it is: {}", tenant.str(), e.what());
            result = static_cast<int>(ExitCode::kSomeFailed);
            continue;
        }
        write_line(out, swept);
    }
    return result;
}

} // namespace sky::cache
