// SPDX-License-Identifier: MIT
#include <sky/cli.hpp>

#include <sky/error.hpp>
#include <sky/log.hpp>
#include <sky/version.hpp>

#include <CLI/CLI.hpp>

#include <csignal>
#include <cstdio>
#include <exception>

namespace sky {

Cli::Cli(int argc, char** argv, const std::string& tool, const std::string& description)
    : argc_(argc), argv_(argv), tool_(tool), app_(std::make_unique<CLI::App>(description, tool)) {
    app_->option_defaults()->take_last();
    app_->add_option("--config", config_file_,
                     "configuration file (default: $SKY_CONFIG, then /etc/skyflake/config.json)")
        ->type_name("FILE");
    app_->add_flag("--check-config", check_config_, "check the configuration and leave");
    app_->set_version_flag("--version", tool + " " + kVersion);
    app_->add_flag("-v,--verbose", verbosity_, "say more");
    app_->add_flag("-q,--quiet", quiet_, "say only what went wrong");
}

Cli::~Cli() = default;

void Cli::examples(const std::string& text) {
    app_->footer("\nExamples:\n" + text);
}

void Cli::parse() {
    try {
        app_->parse(argc_, argv_);
    } catch (const CLI::Success& e) { // --help, --version
        app_->exit(e);
        throw Exit{0};
    } catch (const CLI::ParseError& e) {
        // --check-config needs no verb.
        if (!check_config_) {
            throw UsageError(fmt::format("{} (try '{} --help')", e.what(), tool_));
        }
    }
    log::setup(tool_, quiet_           ? log::Level::kError
                      : verbosity_ > 0 ? log::Level::kDebug
                                       : log::Level::kInfo);
    if (check_config_) {
        std::puts(fmt::format("{}: good", config().file.string()).c_str());
        throw Exit{0};
    }
}

const Config& Cli::config() {
    if (!config_) {
        config_ = load_config(config_file_);
    }
    return *config_;
}

int run_main(int argc, char** argv, const std::string& tool, const std::string& description,
             const std::function<int(Cli&)>& body) noexcept {
    std::signal(SIGPIPE, SIG_IGN);
    std::signal(SIGCHLD, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    log::setup(tool, log::Level::kInfo);
    try {
        Cli cli(argc, argv, tool, description);
        return body(cli);
    } catch (const Exit& e) {
        return e.code;
    } catch (const Error& e) {
        log::write(log::Level::kError, e.what());
        return code(e.code());
    } catch (const std::exception& e) {
        log::write(log::Level::kError, std::string("internal error: ") + e.what());
        return code(ExitCode::kBug);
    }
}

} // namespace sky
