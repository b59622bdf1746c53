// SPDX-License-Identifier: MIT
#include <sky-vm-run/verify.hpp>

#include <sky-vm-run/store-files.hpp>

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/hash.hpp>
#include <sky/json.hpp>
#include <sky/lines.hpp>
#include <sky/log.hpp>
#include <sky/nar.hpp>
#include <sky/state.hpp>

#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <unistd.h>

namespace sky::vm {
namespace {

namespace fs = std::filesystem;

class Verifier {
  public:
    Verifier(const fs::path& store, bool repair)
        : path_(store), repair_(repair), store_(open_file(store, O_RDONLY | O_DIRECTORY)),
          marks_(directory_in(store_.get(), kMarks)) {}

    Verified run() {
        Verified out;
        for (const auto& name : names_in(marks_.get())) {
            ++out.paths;
            if (auto why = wrong_with(name); !why.empty()) {
                out.damaged.push_back({name, std::move(why)});
            }
        }
        return out;
    }

  private:
    /// What a name stands for: its mark and the tree that has it. Another when a fetch or a sweep
    /// came in between.
    struct Version {
        std::string mark;
        ino_t tree = 0; ///< 0: none
        bool operator==(const Version&) const = default;
    };

    [[nodiscard]] Version version_of(const std::string& name) const {
        Version now{.mark = mark_of(marks_.get(), name)};
        struct stat info {};
        if (::fstatat(store_.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0) {
            now.tree = info.st_ino;
        } else if (errno != ENOENT) {
            fail_errno("cannot stat '{}'", (path_ / name).string());
        }
        return now;
    }

    /// Empty: nothing is, or it has gone. What is wrong was put aside if it shall be.
    [[nodiscard]] std::string wrong_with(const std::string& name) const {
        for (;;) {
            Version looked_at;
            {
                const DirectoryLock lock(store_.get()); // nobody is between its name and its mark
                looked_at = version_of(name);
            }
            if (looked_at.mark.empty()) {
                return {};
            }
            auto why = read_and_compare(name, looked_at);
            if (why.empty()) {
                return {};
            }
            const DirectoryLock lock(store_.get());
            if (version_of(name) == looked_at) {
                if (repair_) {
                    put_aside(name);
                }
                return why;
            }
        }
    }

    [[nodiscard]] std::string read_and_compare(const std::string& name,
                                               const Version& version) const {
        if (version.tree == 0) {
            return "not there";
        }
        try {
            Hasher hasher;
            nar_dump(path_ / name, [&](std::string_view data) { hasher.update(data); });
            return nar_hash_text(hasher.finish()) == version.mark ? "" : "not what its record says";
        } catch (const Error& e) {
            return e.what();
        }
    }

    void put_aside(const std::string& name) const {
        if (::unlinkat(marks_.get(), name.c_str(), 0) != 0) {
            fail_errno("cannot remove the mark of '{}'", name);
        }
        const Fd aside = directory_in(store_.get(), kReplaced);
        const auto other = random_name();
        if (::renameat(store_.get(), name.c_str(), aside.get(), other.c_str()) != 0 &&
            errno != ENOENT) {
            fail_errno("cannot move '{}' aside", (path_ / name).string());
        }
    }

    fs::path path_;
    bool repair_;
    Fd store_;
    Fd marks_;
};

void report(const Tenant& tenant, const Verified& verified, const VerifyOptions& options, int out) {
    if (options.json) {
        Json damaged = Json::array();
        for (const auto& each : verified.damaged) {
            damaged.push_back({{"path", "/nix/store/" + each.name}, {"why", each.why}});
        }
        write_line(out, {{"v", 1},
                         {"tenant", tenant.str()},
                         {"paths", verified.paths},
                         {"damaged", std::move(damaged)},
                         {"repaired", options.repair}});
        return;
    }
    std::string text;
    for (const auto& each : verified.damaged) {
        text += fmt::format("{}: /nix/store/{}: {} ({})\n", tenant.str(), each.name, each.why,
                            options.repair ? "put aside, the next start fetches it again"
                                           : "with --repair the next start fetches it again");
    }
    text += fmt::format("{}: {} store paths, {} damaged\n", tenant.str(), verified.paths,
                        verified.damaged.size());
    write_all(out, text);
}

} // namespace

Verified verify_store(const fs::path& store, bool repair) {
    if (!fs::exists(store / kMarks)) {
        return {}; // nothing was ever fetched
    }
    return Verifier(store, repair).run();
}

int verify_verb(const Config& config, const VerifyOptions& options, int out) {
    check_storage(config);
    if (options.tenant) {
        static_cast<void>(config.tenant(Tenant::parse(*options.tenant)));
    }
    int result = 0;
    for (const auto& [tenant, settings] : config.tenants) {
        if (options.tenant && tenant.str() != *options.tenant) {
            continue;
        }
        try {
            const auto verified = verify_store(State(config).store(tenant), options.repair);
            report(tenant, verified, options, out);
            if (!verified.damaged.empty() && !options.repair) {
                result = code(ExitCode::kSomeFailed);
            }
        } catch (const Error& e) { // one tenant must not hide the others
            log::error("{}: {}", tenant.str(), e.what());
            result = code(ExitCode::kSomeFailed);
        }
    }
    return result;
}

} // namespace sky::vm
