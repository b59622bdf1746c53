// SPDX-License-Identifier: MIT
#include <sky-build/machine.hpp>

#include <sky/error.hpp>
#include <sky/log.hpp>
#include <sky/privilege.hpp>

#include <nlohmann/json.hpp>

#include <sstream>

namespace sky::build {

namespace {

constexpr std::size_t kClosureCap = std::size_t{64} << 20;

/// A step of a machine that failed, with what nix said.
struct StepFailed {
    Failure failure;
    std::string log;
};

class MachineBuild {
  public:
    MachineBuild(const Shared& shared, const Tag& tag, const Request& request,
                 const DeployInput& input, BuildLog& log)
        : shared_(&shared), tag_(&tag), request_(&request), input_(&input), log_(&log) {}

    StorePath run(const std::optional<Known>& known) {
        if (known && leave_again(*known)) {
            log::say(tag_->step("same inputs as before, nothing to build"));
            log_->note("same inputs as before: " + known->deployment.str());
            return known->deployment;
        }
        log::say(tag_->step("evaluating"));
        const Evaluated evaluated = evaluate();
        log::say(tag_->step("building"));
        const std::string closure = realise(evaluated);
        finish(evaluated.deployment, parse_path_info(closure));
        shared_->memo->put("deployment", input_->key(),
                           {{"deployment", evaluated.deployment.str()},
                            {"closure", parse_json(closure, kClosureCap, "nix path-info")}});
        log::say(tag_->step("built"));
        return evaluated.deployment;
    }

  private:
    /// False if the cache, where it is asked, lacks what the cell's store has lost too.
    bool leave_again(const Known& known) {
        if (request_->moves) {
            root(known.deployment);
            return true;
        }
        try {
            finish(known.deployment, known.closure);
            return true;
        } catch (const StepFailed& step) {
            log_->note("not as before: " + step.failure.text);
            return false;
        }
    }

    CellResult run_nix(std::vector<std::string> argv, const char* stage, std::int64_t limit_s) {
        CellOptions options;
        options.limit = std::chrono::seconds(limit_s);
        options.err = [this](std::string_view data) { log_->feed(data); };
        CellResult result = shared_->cell->run({std::move(argv), true, {}}, options);
        if (result.late) {
            const std::string text =
                fmt::format("{} took longer than {} s",
                            stage == std::string("eval") ? "evaluation" : "the build", limit_s);
            log_->note("error: " + text);
            throw StepFailed{{stage, ExitCode::kData, text}, result.err};
        }
        if (result.exit_code != 0) {
            throw StepFailed{{stage, ExitCode::kData, failure_text(result.exit_code, result.err)},
                             result.err};
        }
        return result;
    }

    Evaluated evaluate() {
        const CellResult result =
            run_nix({"/bin/nix", "eval", "--json", "--expr", input_->expression()}, "eval",
                    shared_->config->cell.eval_s);
        return parse_evaluated(result.out);
    }

    /// Builds, and returns what nix knows of the closure.
    std::string realise(const Evaluated& evaluated) {
        constexpr const char* kScript = "/run/nix-store --realise \"$1\" >/dev/null || exit\n"
                                        "exec /bin/nix path-info --recursive --json \"$2\"\n";
        return run_nix({"/run/sh", "-c", kScript, "sh", evaluated.derivation.str(),
                        evaluated.deployment.str()},
                       "build", shared_->config->cell.build_s)
            .out;
    }

    /// The machine's current result is a GC root of the cell's store.
    void root(const StorePath& path) const {
        add_root(*shared_->cell, kMachineRoots,
                 request_->repo.str() + "." + request_->machine.str(), path);
    }

    void finish(const StorePath& path, const std::vector<PathInfo>& closure) {
        root(path);
        try {
            shared_->outbox->leave(closure);
        } catch (const Error& e) {
            throw StepFailed{{"cache", e.code(), e.what()}, ""};
        }
    }

    const Shared* shared_;
    const Tag* tag_;
    const Request* request_;
    const DeployInput* input_;
    BuildLog* log_;
};

std::variant<Identity, Failure> parse_identity(const Json& line) {
    if (line.contains("error")) {
        Fields error(line["error"], "error");
        Failure failure{"admit", static_cast<ExitCode>(error.integer_or("code", 1, 125, 77)),
                        error.string("text")};
        return failure;
    }
    Fields fields(line, "identity");
    static_cast<void>(fields.integer("v", 1, 1));
    static_cast<void>(fields.string("machine"));
    Identity identity;
    identity.index = fields.integer("index", 1, 0xffffff);
    identity.machine_id = fields.string("machine_id");
    fields.each("macs", [&](const Json& mac, const std::string& path) {
        identity.macs.push_back(string_of(mac, path));
    });
    identity.root_mib = fields.integer("root_mib", 1, std::int64_t{1} << 40);
    fields.done();
    return identity;
}

std::string identity_key(const Repo& repo, const Machine& machine) {
    return repo.str() + "/" + machine.str();
}

} // namespace

std::optional<Identity> recall_identity(const Memo& memo, const Repo& repo, const Machine& machine,
                                        std::int64_t root_mib) {
    auto value = memo.get("identity", identity_key(repo, machine));
    if (!value) {
        return std::nullopt;
    }
    try {
        (*value)["root_mib"] = root_mib;
        auto parsed = parse_identity(*value);
        auto* identity = std::get_if<Identity>(&parsed);
        return identity == nullptr ? std::nullopt : std::optional(std::move(*identity));
    } catch (const std::exception&) {
        return std::nullopt; // a memo that can not be read is no memo
    }
}

void remember_identity(const Memo& memo, const Repo& repo, const Machine& machine,
                       const Identity& identity) {
    memo.put("identity", identity_key(repo, machine),
             {{"v", 1},
              {"machine", machine.str()},
              {"index", identity.index},
              {"machine_id", identity.machine_id},
              {"macs", identity.macs}});
}

std::optional<Known> recall(const Memo& memo, const DeployInput& input) {
    const auto value = memo.get("deployment", input.key());
    if (!value) {
        return std::nullopt;
    }
    try {
        return Known{StorePath::parse(string_of(value->at("deployment"), "deployment")),
                     parse_path_info(dump_json(value->at("closure")))};
    } catch (const std::exception&) {
        return std::nullopt; // a memo that can not be read is no memo
    }
}

Outcome build_machine(const Shared& shared, const Tag& tag, const Request& request,
                      const DeployInput& input, const std::optional<Known>& known, BuildLog& log) {
    try {
        return MachineBuild(shared, tag, request, input, log).run(known);
    } catch (const StepFailed& step) {
        tell_failure(tag, step.failure, step.log);
        return step.failure;
    } catch (const Error& e) {
        const Failure failure{"build", e.code(), e.what()};
        tell_failure(tag, failure, "");
        return failure;
    } catch (const std::exception& e) {
        const Failure failure{"build", ExitCode::kBug, std::string("internal error: ") + e.what()};
        tell_failure(tag, failure, "");
        return failure;
    }
}

void tell_failure(const Tag& tag, const Failure& failure, std::string_view log) {
    bool first = true;
    for (const std::string& line : wrap(tag.error(failure.text), 64)) {
        log::say((first ? "" : "       ") + line);
        first = false;
    }
    const bool evaluation = failure.stage == "eval";
    for (const std::string& line : error_tail(evaluation ? last_error(log) : log, 12)) {
        log::say(line);
    }
}

std::map<Machine, std::variant<Identity, Failure>>
parse_identities(std::string_view answer, const std::set<Machine>& machines) {
    std::map<Machine, std::variant<Identity, Failure>> result;
    std::istringstream lines{std::string(answer)};
    for (std::string text; std::getline(lines, text);) {
        const Json line = parse_json(text, std::size_t{1} << 16, "identity");
        if (!line.is_object() || !line.contains("machine")) {
            fail(ExitCode::kData, "identity: expected an object with 'machine'");
        }
        const Machine machine = Machine::parse(string_of(line["machine"], "identity.machine"));
        result.insert_or_assign(machine, parse_identity(line));
    }
    for (const Machine& machine : machines) {
        result.try_emplace(machine, Failure{"admit", ExitCode::kUnavailable,
                                            "sky-nomad-submit gave it no identity"});
    }
    return result;
}

std::map<Machine, std::variant<Identity, Failure>>
ask_identities(const Config& config, const Repo& repo, const std::set<Machine>& machines) {
    Json names = Json::array();
    for (const Machine& machine : machines) {
        names.push_back(machine.str());
    }
    const Json request{{"v", 1}, {"repo", repo.str()}, {"machines", names}};
    const Captured answer =
        crossing_command(config, config.accounts.deploy, "sky-nomad-submit", "identity")
            .capture(dump_json(request) + "\n", std::size_t{1} << 20, std::chrono::minutes(2));
    return parse_identities(answer.out, machines);
}

} // namespace sky::build
