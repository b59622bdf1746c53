// SPDX-License-Identifier: MIT
#include <sky-vm-run/held-registry.hpp>

#include <sky/error.hpp>
#include <sky/log.hpp>
#include <sky/nomad/client.hpp>
#include <sky/privilege.hpp>

#include <chrono>
#include <nlohmann/json.hpp>

namespace sky::vm {
namespace {

constexpr std::chrono::seconds kPatience{
    30}; ///< for another's change: of Nomad's and a disk's time
constexpr std::chrono::seconds kNomadPatience{10};

class NomadVariables final : public Variables {
  public:
    explicit NomadVariables(const NomadConfig& config)
        : client_(config, nomad::read_token(config.host_token), kNomadPatience) {}

    std::optional<Read> read(const std::string& path) override {
        auto variable = client_.variable(path);
        return variable ? std::optional(Read{std::move(variable->json), variable->index})
                        : std::nullopt;
    }
    bool write(const std::string& path, const std::string& text, std::uint64_t index) override {
        return client_.set_variable(path, text, index).has_value();
    }
    void remove(const std::string& path) override {
        static_cast<void>(
            client_.remove("var/" + path, {{"namespace", std::string(nomad::kOurNamespace)}}));
    }
    std::vector<std::string> list(const std::string& prefix) override {
        return client_.variables(prefix);
    }

  private:
    nomad::Client client_;
};

std::unique_ptr<Variables> variables_of(const Config& config) {
    return config.nomad ? std::make_unique<NomadVariables>(*config.nomad) : nullptr;
}

struct Look {
    std::optional<RegistryVariables::Head> head;
    Registry registry;
    bool behind = false;
};

/// The later of Nomad's and the copy. They differ when a writer died before it wrote the copy, and
/// when one of the two was brought back from a backup.
Look look_at(const Config& config, Variables& variables) {
    RegistryVariables nomad(variables);
    Look out{.head = nomad.head(), .registry = {}};
    if (!out.head) {
        out.registry = load_registry(config);
        return out;
    }
    std::optional<Registry> copy;
    try {
        copy = load_registry(config);
    } catch (const Error& e) { // gone or damaged: Nomad has it
        log::debug("the copy of the registry: {}", e.what());
    }
    const auto& commit = out.head->head.commit;
    if (copy && (copy->commit == commit || copy->commit.serial > commit.serial)) {
        out.registry = std::move(*copy);
        return out;
    }
    out.registry = nomad.registry(*out.head);
    out.behind = true;
    return out;
}

} // namespace

HeldRegistry::HeldRegistry(const Config& config, std::string_view who)
    : HeldRegistry(config, who, variables_of(config)) {}

HeldRegistry::HeldRegistry(const Config& config, std::string_view who,
                           std::unique_ptr<Variables> variables)
    : config_(config), lock_(Lock::take(config.shared / "registry.lock", who, kPatience)),
      variables_(std::move(variables)) {
    if (variables_ != nullptr) {
        look();
    } else {
        registry_ = load_registry(config_);
    }
}

void HeldRegistry::look() {
    try {
        auto there = look_at(config_, *variables_);
        head_ = std::move(there.head);
        registry_ = std::move(there.registry);
        behind_ = there.behind;
    } catch (const Error& e) {
        if (e.code() != ExitCode::kUnavailable) {
            throw;
        }
        away_ = std::current_exception();
        registry_ = load_registry(config_);
    }
}

const Registry& HeldRegistry::now() const {
    if (away_) {
        std::rethrow_exception(away_);
    }
    return registry_;
}

void HeldRegistry::save(Registry next) {
    const bool changed = next != registry_;
    if (changed && variables_ != nullptr) {
        RegistryVariables(*variables_).commit(head_, now(), next);
    }
    if (changed || behind_) {
        save_registry(config_.shared, next, account(config_.accounts.deploy).gid);
        registry_ = std::move(next);
        behind_ = false;
    }
}

void HeldRegistry::sweep() {
    static_cast<void>(now());
    if (head_) {
        RegistryVariables(*variables_).sweep(head_->head);
    }
}

void change_registry(const Config& config, std::string_view who,
                     const std::function<void(Registry&)>& change) {
    HeldRegistry held(config, who);
    Registry next = held.last_known();
    change(next);
    held.save(std::move(next));
}

Registry current_registry(const Config& config) {
    const auto variables = variables_of(config);
    return current_registry(config, variables.get());
}

Registry current_registry(const Config& config, Variables* variables) {
    if (variables == nullptr) {
        return load_registry(config);
    }
    try {
        return look_at(config, *variables).registry;
    } catch (const Error& e) {
        if (e.code() != ExitCode::kUnavailable) {
            throw;
        }
        log::debug("the registry as last known: {}", e.what());
        return load_registry(config);
    }
}

} // namespace sky::vm
