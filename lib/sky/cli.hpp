// SPDX-License-Identifier: MIT
#pragma once

#include <sky/config.hpp>
#include <sky/exit.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace CLI {
class App;
}

namespace sky {

/// The command line of one tool: CLI11 with what all tools share (--config, --check-config,
/// --version, -v, -q). Include <CLI/CLI.hpp> in the .cpp that declares options on app().
class Cli {
  public:
    Cli(int argc, char** argv, const std::string& tool, const std::string& description);
    Cli(const Cli&) = delete;
    Cli& operator=(const Cli&) = delete;
    ~Cli();

    [[nodiscard]] CLI::App& app() noexcept { return *app_; }
    /// Shown at the end of --help.
    void examples(const std::string& text);
    /// Parses. --help and --version print and leave by throwing; a wrong command line is UsageError
    /// (64);
    /// --check-config checks and leaves. Call it once, after the options were declared.
    void parse();
    /// The configuration named by --config, read at first use. Throws Error(kConfig).
    [[nodiscard]] const Config& config();
    /// Which file that is, whether it is there or not.
    [[nodiscard]] std::filesystem::path config_file() const { return config_path(config_file_); }

  private:
    int argc_;
    char** argv_;
    std::string tool_;
    std::unique_ptr<CLI::App> app_;
    std::optional<std::string> config_file_;
    std::optional<Config> config_;
    bool check_config_ = false;
    int verbosity_ = 0;
    bool quiet_ = false;
};

/// Thrown to end the program with a code after everything was said. run_main prints nothing for it.
struct Exit {
    int code;
};

/// main() of every tool: SIGPIPE ignored, inherited signal mask cleared, every exception becomes
/// one line on stderr and its exit code. `body` declares its options on cli.app(), calls
/// cli.parse() and does the work; its result is the code.
int run_main(int argc, char** argv, const std::string& tool, const std::string& description,
             const std::function<int(Cli&)>& body) noexcept;

[[nodiscard]] constexpr int code(ExitCode value) noexcept {
    return static_cast<int>(value);
}

} // namespace sky
