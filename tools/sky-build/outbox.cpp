// SPDX-License-Identifier: MIT
#include <sky-build/outbox.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/hash.hpp>
#include <sky/json.hpp>
#include <sky/nar.hpp>
#include <sky/narinfo.hpp>
#include <sky/privilege.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace sky::build {

namespace {

constexpr mode_t kFileMode = 0640;

void make_directory(const std::filesystem::path& path) {
    // No chmod: it would take the set-gid bit, and with it the cache account's group, away.
    if (::mkdir(path.c_str(), 0750) != 0 && errno != EEXIST) {
        fail_errno("cannot make '{}'", path.string());
    }
}

/// Writes beside the name and renames, so that a name means a whole file.
class Draft {
  public:
    explicit Draft(std::filesystem::path path)
        : path_(std::move(path)), draft_(path_.string() + ".new") {
        ::unlink(draft_.c_str());
        fd_ = open_file(draft_, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, kFileMode);
    }
    Draft(const Draft&) = delete;
    Draft& operator=(const Draft&) = delete;
    ~Draft() {
        if (fd_) {
            ::unlink(draft_.c_str());
        }
    }

    [[nodiscard]] int fd() const noexcept { return fd_.get(); }
    void finish() {
        if (::rename(draft_.c_str(), path_.c_str()) != 0) {
            fail_errno("cannot write '{}'", path_.string());
        }
        fd_.reset();
    }

  private:
    std::filesystem::path path_;
    std::filesystem::path draft_;
    Fd fd_;
};

} // namespace

Outbox::Outbox(std::filesystem::path directory, std::filesystem::path store, AskMissing ask)
    : directory_(std::move(directory)), store_(std::move(store)), ask_(std::move(ask)) {
    const Fd unswept = hold_directory(directory_.parent_path(), false);
    make_directory(directory_);
    make_directory(directory_ / "nar");
    lock_ = Lock::try_take(directory_ / "lock", "sky-build");
}

void Outbox::ask(const std::vector<PathInfo>& paths) {
    const std::lock_guard guard(mutex_);
    learn(paths);
}

void Outbox::learn(const std::vector<PathInfo>& paths) {
    std::set<std::string> unknown;
    for (const PathInfo& info : paths) {
        if (there_.count(info.path) == 0 && missing_.count(info.path) == 0) {
            unknown.insert(info.path.str());
        }
    }
    if (unknown.empty()) {
        return;
    }
    const auto answer = ask_({unknown.begin(), unknown.end()});
    const std::set<std::string> missing(answer.begin(), answer.end());
    for (const PathInfo& info : paths) {
        if (unknown.count(info.path.str()) != 0) {
            (missing.count(info.path.str()) != 0 ? missing_ : there_).insert(info.path);
        }
    }
}

void Outbox::leave(const std::vector<PathInfo>& closure) {
    const std::lock_guard guard(mutex_);
    learn(closure);
    for (const PathInfo& info : closure) {
        if (missing_.count(info.path) != 0) {
            write(info);
            missing_.erase(info.path);
            there_.insert(info.path);
        }
    }
}

void Outbox::write(const PathInfo& info) {
    NarInfo narinfo{info.path, std::nullopt, {}, 0, info.references, std::nullopt};
    Draft nar(directory_ / narinfo.url());
    Hasher hasher;
    const Sink file = fd_sink(nar.fd());
    nar_dump(store_ / info.path.base(), [&](std::string_view data) {
        hasher.update(data);
        file(data);
    });
    narinfo.nar_size = hasher.size();
    narinfo.nar_hash = hasher.finish();
    if (narinfo.nar_hash != info.nar_hash) {
        fail(ExitCode::kData, "'{}' in the cell's store is not what nix built", info.path.base());
    }
    nar.finish();
    Draft text(directory_ / (info.path.hash() + ".narinfo"));
    write_all(text.fd(), print_narinfo(narinfo));
    text.finish();
}

AskMissing ask_cache(const Config& config, bool check) {
    return [&config, check](const std::vector<std::string>& paths) {
        constexpr std::size_t kCap = std::size_t{64} << 20;
        const Command command =
            crossing_command(config, config.accounts.cache, "sky-cache-push", "missing");
        Json request{{"v", 1}, {"paths", paths}};
        if (check) {
            request["check"] = true;
        }
        const Captured answer =
            command.capture(dump_json(request) + "\n", kCap, std::chrono::minutes(5));
        if (answer.exit_code != 0) {
            fail(ExitCode::kUnavailable, "sky-cache-push missing failed with {}", answer.exit_code);
        }
        const Json value = parse_json(answer.out, kCap, "sky-cache-push missing");
        Fields fields(value, "missing");
        static_cast<void>(fields.integer("v", 1, 1));
        std::vector<std::string> missing;
        fields.each("missing", [&](const Json& path, const std::string& where) {
            missing.push_back(string_of(path, where));
        });
        fields.done();
        return missing;
    };
}

} // namespace sky::build
