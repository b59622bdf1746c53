// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sky::vm {

/// What the doctor found about one thing.
struct Finding {
    enum class State { kGood, kWarning, kBad };
    std::string check; ///< "programs", "sudo", ...
    State state = State::kGood;
    std::string text; ///< what is so
    std::string way;  ///< the way out; empty where all is good
};
using Findings = std::vector<Finding>;

/// Collects findings of one check.
class Report {
  public:
    Report(Findings& into, std::string check) : into_(&into), check_(std::move(check)) {}
    void good(const std::string& text) { add(Finding::State::kGood, text, ""); }
    void warning(const std::string& text, const std::string& way) {
        add(Finding::State::kWarning, text, way);
    }
    void bad(const std::string& text, const std::string& way) {
        add(Finding::State::kBad, text, way);
    }

  private:
    void add(Finding::State state, const std::string& text, const std::string& way) {
        into_->push_back({check_, state, text, way});
    }
    Findings* into_;
    std::string check_;
};

/// The first version number in what a program says, "2.39.5" as {2,39,5}; empty: none. Pure.
[[nodiscard]] std::vector<int> version_in(std::string_view text);

/// What is missing in `sshd -T -C user=TENANT`, in its own words; empty: nothing. Pure.
[[nodiscard]] std::vector<std::string> missing_in_sshd(const Config& config, std::string_view said);

/// doctor-host.cpp: storage, room, programs, kernel, cgroups, clock.
void check_host(const Config& config, Findings& findings);
/// doctor-access.cpp: accounts, sudo, sshd, rules of the network. `sshd_config`: not the usual one.
void check_access(const Config& config, const std::optional<std::string>& sshd_config,
                  Findings& findings);
/// doctor-nomad.cpp: ports, Nomad, tokens, lease; nothing on a single host.
void check_cluster(const Config& config, Findings& findings);

struct DoctorOptions {
    std::optional<std::string> sshd_config;
    bool json = false;
};

/// Verb `doctor`: looks at everything that a host needs and says what it finds, the way out in
/// parentheses; changes nothing. 0: all good, perhaps with warnings; 1: something is bad.
int doctor_verb(const std::filesystem::path& config_file, const DoctorOptions& options, int out);

} // namespace sky::vm
