// SPDX-License-Identifier: MIT
#include <sky-vm-run/doctor.hpp>

#include <sky/cli.hpp>
#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/json.hpp>
#include <sky/lines.hpp>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace sky::vm {
namespace {

const char* word(Finding::State state) {
    switch (state) {
    case Finding::State::kGood:
        return "good";
    case Finding::State::kWarning:
        return "warning";
    case Finding::State::kBad:
        return "bad";
    }
    return "";
}

Findings examine(const std::filesystem::path& file, const DoctorOptions& options) {
    Findings findings;
    Report config_report(findings, "configuration");
    std::optional<Config> config;
    try {
        config = load_config(file.string());
        config_report.good(fmt::format("{}, {} tenants", file.string(), config->tenants.size()));
    } catch (const Error& e) {
        config_report.bad(e.what(), "mend it; nothing else can be looked at before");
        return findings;
    }
    const auto look = [&](const char* at, const auto& check) {
        try {
            check();
        } catch (const std::exception& e) { // what can not be looked at must not hide the rest
            Report(findings, at).bad(e.what(), "mend that and look again");
        }
    };
    look("host", [&] { check_host(*config, findings); });
    look("access", [&] { check_access(*config, options.sshd_config, findings); });
    look("cluster", [&] { check_cluster(*config, findings); });
    return findings;
}

} // namespace

int doctor_verb(const std::filesystem::path& config_file, const DoctorOptions& options, int out) {
    if (::geteuid() != 0) {
        fail(ExitCode::kRefused, "doctor is for root");
    }
    const Findings findings = examine(config_file, options);
    for (const auto& f : findings) {
        if (options.json) {
            write_line(out, {{"v", 1},
                             {"check", f.check},
                             {"state", word(f.state)},
                             {"text", f.text},
                             {"way", f.way.empty() ? Json() : Json(f.way)}});
        } else {
            write_all(out, fmt::format("{:<8} {}: {}{}\n", word(f.state), f.check, f.text,
                                       f.way.empty() ? "" : " (" + f.way + ")"));
        }
    }
    const bool bad = std::any_of(findings.begin(), findings.end(),
                                 [](const auto& f) { return f.state == Finding::State::kBad; });
    return code(bad ? ExitCode::kSomeFailed : ExitCode::kOk);
}

} // namespace sky::vm
