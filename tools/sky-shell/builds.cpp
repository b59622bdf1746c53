// SPDX-License-Identifier: MIT
#include <sky-shell/builds.hpp>

#include "sky-shell/ensure.hpp"
#include "sky-shell/table.hpp"

#include <sky/error.hpp>
#include <sky/json.hpp>
#include <sky/lines.hpp>
#include <sky/lock.hpp>
#include <sky/log.hpp>
#include <sky/scratch.hpp>

#include <algorithm>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/file.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace sky::shell {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kKeptBuilds = 100;
constexpr std::size_t kMostNote = 1U << 20U;

Json note_json(const BuildNote& note) {
    return {{"v", 1},
            {"build", note.id.str()},
            {"repo", note.repo.str()},
            {"at", note.at},
            {"ended", note.ended ? Json(*note.ended) : Json(nullptr)},
            {"machines", note.verdicts}};
}

/// A lock file's descriptor, if the lock could be taken now.
std::optional<Fd> try_flock(const fs::path& file) {
    Fd fd = open_file(file, O_RDONLY | O_NOFOLLOW);
    return ::flock(fd.get(), LOCK_EX | LOCK_NB) == 0 ? std::optional(std::move(fd)) : std::nullopt;
}

/// Its build ended with it, whatever the note says.
void remove_dead(const Session& session, const fs::path& outbox) {
    if (BuildId::valid(outbox.filename().string())) {
        close_note(session, BuildId::parse(outbox.filename().string()));
    }
    fs::remove_all(outbox);
}

/// With the directory above held, so that nobody is between making an outbox and locking it: one
/// without a lock is a dead one's, too.
void remove_if_dead(const Session& session, const fs::path& outbox) {
    if (!fs::exists(outbox / "lock") || try_flock(outbox / "lock")) {
        remove_dead(session, outbox);
    }
}

} // namespace

void write_note(const Session& session, const BuildNote& note) {
    const auto directory = session.build(note.id);
    make_directories(directory, 0700);
    atomic_write(directory / "build.json", dump_json(note_json(note)) + "\n");
}

BuildNote read_note(const Session& session, const BuildId& id) {
    const auto file = session.build(id) / "build.json";
    const auto text = read_file_if_exists(file, kMostNote);
    if (!text) {
        fail(ExitCode::kRefused, "build '{}' is not there or not yours (see 'builds')", id.str());
    }
    const Json object = parse_json(*text, kMostNote, "build.json");
    Fields fields(object, "build.json");
    static_cast<void>(fields.integer("v", 1, 1));
    static_cast<void>(fields.string("build"));
    BuildNote note{id,
                   Repo::parse(fields.string("repo")),
                   fields.string("at"),
                   fields.optional_string("ended"),
                   {}};
    fields.each_member("machines",
                       [&](const std::string& name, const Json& value, const std::string& path) {
                           note.verdicts[name] = string_of(value, path);
                       });
    return note; // no done(): its host may be a version ahead
}

void close_note(const Session& session, const BuildId& id) noexcept {
    try {
        if (!fs::exists(session.build(id) / "build.json")) {
            fs::remove_all(session.build(id)); // a hook that was killed before it had one
            return;
        }
        auto note = read_note(session, id);
        if (note.ended) {
            return;
        }
        note.ended = now_text();
        for (auto& [machine, verdict] : note.verdicts) {
            verdict = verdict == "building" ? "cancelled" : verdict;
        }
        write_note(session, note);
    } catch (const std::exception& e) { // a note is for people; the push goes on without
        log::debug("note: {}", e.what());
    }
}

std::vector<BuildId> list_builds(const Session& session) {
    std::vector<BuildId> ids;
    const auto directory = session.state.builds(session.tenant);
    std::error_code error;
    for (fs::directory_iterator at(directory, error), end; !error && at != end;
         at.increment(error)) {
        if (BuildId::valid(at->path().filename().string())) {
            ids.push_back(BuildId::parse(at->path().filename().string()));
        }
    }
    if (error) {
        fail(ExitCode::kIo, "cannot read '{}': {}", directory.string(), error.message());
    }
    std::sort(ids.rbegin(), ids.rend());
    return ids;
}

void sweep(const Session& session) noexcept {
    try {
        {
            const auto outboxes = session.state.outbox(session.tenant);
            const Fd alone = hold_directory(outboxes, true);
            for (const auto& entry : fs::directory_iterator(outboxes)) {
                remove_if_dead(session, entry.path());
            }
        }
        sweep_scratch(session.state.cell(session.tenant) / "tmp");
        const auto ids = list_builds(session);
        for (std::size_t i = kKeptBuilds; i < ids.size(); ++i) {
            fs::remove_all(session.build(ids[i]));
        }
    } catch (const std::exception& e) { // leftovers cost room, no more
        log::debug("sweep: {}", e.what());
    }
}

Outbox::Outbox(const Session& session, const BuildId& id) : path_(session.outbox(id)) {
    const Fd unswept = hold_directory(path_.parent_path(), false);
    // Group and set-gid bit come from the directory above; chmod(2) would lose the bit, because we
    // are not in that group.
    if (::mkdir(path_.c_str(), 0750) != 0 && errno_now() != EEXIST) {
        fail_errno("cannot make '{}'", path_.string());
    }
    lock_ = open_file(path_ / "lock", O_RDONLY | O_CREAT | O_NOFOLLOW, 0600);
    if (::flock(lock_.get(), LOCK_SH | LOCK_NB) != 0) {
        fail_errno("cannot lock '{}'", path_.string());
    }
}

Outbox::~Outbox() {
    std::error_code ignored; // the next push sweeps it
    fs::remove_all(path_, ignored);
}

int builds_verb(const Session& session, const Builds& request) {
    Table table({"BUILD", "REPO", "AT", "MACHINES"});
    for (const auto& id : list_builds(session)) {
        std::optional<BuildNote> note;
        try {
            note = read_note(session, id);
        } catch (const Error& e) {
            if (e.code() != ExitCode::kRefused) { // a build by hand has no note
                log::warn("{}: {}", id.str(), e.what());
            }
            continue;
        }
        if (request.repo && note->repo != *request.repo) {
            continue;
        }
        if (request.json) {
            write_line(STDOUT_FILENO, note_json(*note));
            continue;
        }
        std::string machines;
        for (const auto& [machine, verdict] : note->verdicts) {
            machines += fmt::format("{}{}: {}", machines.empty() ? "" : ", ", machine, verdict);
        }
        table.row({id.str(), note->repo.str(), note->at, machines});
    }
    if (!request.json) {
        write_all(STDOUT_FILENO, table.text());
    }
    if (request.repo) {
        ensure_behind(session, request.repo);
    }
    return 0;
}

} // namespace sky::shell
