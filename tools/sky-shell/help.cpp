// SPDX-License-Identifier: MIT
#include "sky-shell/verbs.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace sky::shell {

std::string help_text(const Config& config, const Tenant& tenant) {
    std::string text = fmt::format(R"(Skyflake on {1}: one branch, one machine.

  git push {0}@HOST:REPO HEAD:MACHINE   build nixosConfigurations.MACHINE and run it
  git push {0}@HOST:REPO :MACHINE       stop it; its disks are kept

REPO and MACHINE: a-z 0-9 -, a letter first. The first push makes the repository.

  ssh {0}@HOST VERB

  status [REPO[/MACHINE]] [--json]      what runs where, and why not
  logs MACHINE [-f]                     the machine's console
  logs MACHINE --build ID [-f]          the output of a build
  builds [REPO] [--json]                the latest builds
  connect MACHINE [PORT]                stdin and stdout to a port (22) of it, for ProxyCommand
)",
                                   tenant.str(), config.host);
    const auto offer = [&](std::string_view verb, std::string_view line) {
        if (std::find(config.verbs.begin(), config.verbs.end(), verb) != config.verbs.end()) {
            text += line;
        }
    };
    offer("redeploy", "  redeploy MACHINE                      what the branch says, again\n");
    offer("restart", "  restart MACHINE                       stop it, then start it\n");
    offer("stop", "  stop MACHINE                          until the next push of its branch\n");
    offer("rollback", "  rollback MACHINE [--to REV]           an earlier revision\n");
    text += "  whoami, help\n\nMACHINE is REPO/MACHINE, or its name alone where that is clear.\n";
    return text;
}

} // namespace sky::shell
