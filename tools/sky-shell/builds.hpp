// SPDX-License-Identifier: MIT
#pragma once

#include "sky-shell/receive-plan.hpp"
#include "sky-shell/session.hpp"
#include "sky-shell/ssh-command.hpp"

#include <optional>
#include <string>
#include <vector>

namespace sky::shell {

/// What is kept about a push beside its logs, tenants/T/builds/ID/build.json.
struct BuildNote {
    BuildId id;
    Repo repo;
    std::string at;                              ///< RFC 3339
    std::optional<std::string> ended;            ///< nothing: it runs, or died
    std::map<std::string, std::string> verdicts; ///< machine to "ok" or the reason
};

/// Makes the build's directory if need be and writes the note, whole.
void write_note(const Session& session, const BuildNote& note);

/// Throws Error(kRefused) when there is no such build.
[[nodiscard]] BuildNote read_note(const Session& session, const BuildId& id);

/// Marks what a killed push left unsaid in its note; without one, removes what is left of it.
void close_note(const Session& session, const BuildId& id) noexcept;

/// The latest builds, newest first.
[[nodiscard]] std::vector<BuildId> list_builds(const Session& session);

/// Removes outboxes and scratch directories that no living push or build holds, and all but the
/// newest builds.
void sweep(const Session& session) noexcept;

/// Holds tenants/T/outbox/BUILD while the pipe runs and removes it at its end.
class Outbox {
  public:
    /// Makes it (group: the cache account's, by the set-gid directory above) and locks it.
    Outbox(const Session& session, const BuildId& id);
    Outbox(const Outbox&) = delete;
    Outbox& operator=(const Outbox&) = delete;
    ~Outbox();

  private:
    std::filesystem::path path_;
    Fd lock_;
};

/// The verb `builds`.
int builds_verb(const Session& session, const Builds& request);

} // namespace sky::shell
