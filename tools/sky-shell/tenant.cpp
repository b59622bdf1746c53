// SPDX-License-Identifier: MIT
#include <sky-shell/tenant.hpp>

#include "sky-shell/keys.hpp"
#include "sky-shell/tenant-end.hpp"

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/json.hpp>
#include <sky/lock.hpp>
#include <sky/log.hpp>
#include <sky/process.hpp>
#include <sky/state.hpp>
#include <sky/tenants.hpp>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <pwd.h>
#include <unistd.h>

namespace sky::shell {
namespace {

constexpr std::size_t kMostKeys = 1U << 20U;

struct QuotaWords {
    std::optional<std::int64_t> machines, vcpu, mem, disk, cache;

    [[nodiscard]] Quota on(Quota quota) const {
        quota.machines = machines.value_or(quota.machines);
        quota.vcpu = vcpu.value_or(quota.vcpu);
        quota.mem_mib = mem.value_or(quota.mem_mib);
        quota.disk_mib = disk.value_or(quota.disk_mib);
        quota.cache_mib = cache.value_or(quota.cache_mib);
        return quota;
    }
};

struct Words {
    std::string tenant;
    std::string key;
    std::string file;
    std::string why = "by the operator";
    QuotaWords quota;
    bool data = false;
    bool json = false;
    std::function<int()> action;
};

/// Whoever changes tenants.json: root, one at a time, with the storage there.
class Register {
  public:
    /// What counts is what is there once it is this one's turn.
    explicit Register(Cli& cli)
        : lock_(take(need(cli))), config_(load_config(cli.config_file().string())),
          tenants_(read_tenants(config_.shared).value_or(Tenants{})) {}
    [[nodiscard]] const Config& config() const { return config_; }
    [[nodiscard]] Tenants& tenants() { return tenants_; }
    void save() const {
        Config trial = parse_config(read_file(config_.file, 4U << 20U), config_.file);
        add_tenants(trial, tenants_); // what no tool would read is not written
        atomic_write(config_.shared / "tenants.json", tenants_.dump(), {.mode = 0644});
    }

  private:
    static const Config& need(Cli& cli) {
        if (::geteuid() != 0) {
            fail(ExitCode::kRefused, "tenants are root's to add and remove");
        }
        check_storage(cli.config());
        return cli.config();
    }
    static Lock take(const Config& config) {
        return Lock::take(config.shared / "tenants.lock", "sky-shell tenant",
                          std::chrono::seconds(60));
    }

    Lock lock_;
    Config config_;
    Tenants tenants_;
};

/// Has this host make, or with `forget` remove, what belongs to a tenant.
void tell_host(const Config& config, const std::vector<std::string>& more = {}) {
    const int result = Command(config.tool("sky-vm-run"))
                           .args({"--config", config.file.string(), "host-start"})
                           .args(more)
                           .out(STDERR_FILENO)
                           .run();
    if (result != 0) {
        fail(ExitCode::kSystem, "this host did not take it, see above (mend that, then 'sky-vm-run "
                                "host-start')");
    }
    if (config.shared != config.state) {
        log::say("on every other host of the cluster: sky-vm-run host-start" +
                 (more.empty() ? std::string() : " " + more[0] + " " + more[1]));
    }
}

uid_t free_uid(const Config& config, const Tenants& tenants) {
    for (uid_t uid = std::max(tenants.next_uid, config.tenant_uid_first);
         uid - config.tenant_uid_first < config.tenant_uid_count; ++uid) {
        if (::getpwuid(uid) == nullptr && !config.tenant_of(uid)) { // NOLINT(concurrency-mt-unsafe)
            return uid;
        }
    }
    fail(ExitCode::kRefused, "no uid is left for another tenant (raise tenant_uids.count)");
}

std::filesystem::path keys_file(const Config& config, const Tenant& tenant) {
    return config.shared / "authorized_keys" / tenant.str();
}

std::vector<NamedKey> keys_of(const Config& config, const Tenant& tenant) {
    const auto text = read_file_if_exists(keys_file(config, tenant), kMostKeys);
    return parse_keys(text.value_or(""));
}

void save_keys(const Config& config, const Tenant& tenant, const std::vector<NamedKey>& keys) {
    make_directories(config.shared / "authorized_keys", 0755);
    atomic_write(keys_file(config, tenant), keys_text(keys), {.mode = 0644});
}

NamedKey read_key(const Words& words, const std::string& name) {
    const std::string text = words.file.empty() || words.file == "-"
                                 ? read_all(STDIN_FILENO, 65536, "the key")
                                 : read_file(words.file, 65536);
    return parse_public_key(text, name);
}

int add(Cli& cli, const Words& words) {
    Register reg(cli);
    const auto name = Tenant::parse(words.tenant);
    if (reg.config().tenants.contains(name)) {
        fail(ExitCode::kRefused, "tenant '{}' is there already", name.str());
    }
    if (::getpwnam(name.str().c_str()) != nullptr) { // NOLINT(concurrency-mt-unsafe)
        fail(ExitCode::kRefused, "there is an account '{}' on this host (take another name)",
             name.str());
    }
    std::optional<NamedKey> key;
    if (!words.file.empty()) {
        key = read_key(words, words.key.empty() ? "first" : words.key);
    }
    TenantConfig tenant;
    tenant.uid = free_uid(reg.config(), reg.tenants());
    tenant.quota = words.quota.on({});
    tenant.added = true;
    reg.tenants().added.insert_or_assign(name, tenant);
    reg.tenants().next_uid = tenant.uid + 1;
    reg.save();
    if (key) {
        save_keys(reg.config(), name, {*key});
    }
    tell_host(reg.config());
    log::say(fmt::format("tenant {} has uid {}{}", name.str(), tenant.uid,
                         key ? "" : ", and no key yet (sky-shell tenant key add)"));
    if (reg.config().nomad) {
        log::say("its part of Nomad: sky-nomad-submit tenant add " + name.str());
    }
    return 0;
}

int quota(Cli& cli, const Words& words) {
    Register reg(cli);
    const auto at = reg.tenants().added.find(Tenant::parse(words.tenant));
    if (at == reg.tenants().added.end()) {
        fail(ExitCode::kRefused,
             "'{}' was not added here (a tenant of the configuration has its "
             "quota there)",
             printable(words.tenant));
    }
    at->second.quota = words.quota.on(at->second.quota);
    reg.save();
    return 0;
}

int key_add(Cli& cli, const Words& words) {
    const Register reg(cli);
    const auto name = Tenant::parse(words.tenant);
    static_cast<void>(reg.config().tenant(name));
    auto keys = keys_of(reg.config(), name);
    add_key(keys, read_key(words, words.key));
    save_keys(reg.config(), name, keys);
    return 0;
}

int key_rm(Cli& cli, const Words& words) {
    const Register reg(cli);
    const auto name = Tenant::parse(words.tenant);
    static_cast<void>(reg.config().tenant(name));
    auto keys = keys_of(reg.config(), name);
    remove_key(keys, words.key);
    save_keys(reg.config(), name, keys);
    return 0;
}

int key_list(Cli& cli, const Words& words) {
    const Register reg(cli);
    const auto name = Tenant::parse(words.tenant);
    static_cast<void>(reg.config().tenant(name));
    for (const auto& key : keys_of(reg.config(), name)) {
        write_all(STDOUT_FILENO,
                  fmt::format("{}  {} {}\n", key.name, key.type, fingerprint(key.blob)));
    }
    return 0;
}

int suspend(Cli& cli, const Words& words, bool on) {
    Register reg(cli);
    const auto name = Tenant::parse(words.tenant);
    static_cast<void>(reg.config().tenant(name));
    if (on) {
        reg.tenants().suspended.insert_or_assign(name, printable(words.why, 200));
    } else {
        reg.tenants().suspended.erase(name);
    }
    reg.save();
    return 0;
}

int remove(Cli& cli, const Words& words) {
    Register reg(cli);
    const auto name = Tenant::parse(words.tenant);
    const Config& config = reg.config();
    if (!config.tenant(name).added) {
        fail(ExitCode::kRefused, "'{}' is a tenant of the configuration (take it out there)",
             name.str());
    }
    if (const auto left = what_is_left(config, name); !left.empty() && !words.data) {
        fail(ExitCode::kRefused, "'{}' has {} (--data ends and removes them)", name.str(),
             left.text());
    }
    // Nobody comes in from here on; said again it goes on where it was.
    save_keys(config, name, {});
    reg.tenants().suspended.insert_or_assign(name, "the operator removes this tenant");
    reg.save();
    end_tenant(config, name);
    reg.tenants().added.erase(name);
    reg.tenants().suspended.erase(name);
    reg.save();
    ::unlink(keys_file(config, name).c_str());
    tell_host(config, {"--forget", name.str()});
    return 0;
}

int list(Cli& cli, const Words& words) {
    const Register reg(cli);
    const Config& config = reg.config();
    for (const auto& [name, tenant] : config.tenants) {
        Json keys = Json::array();
        for (const auto& key : keys_of(config, name)) {
            keys.push_back(key.name);
        }
        const auto& q = tenant.quota;
        if (words.json) {
            write_all(STDOUT_FILENO,
                      dump_json({{"v", 1},
                                 {"tenant", name.str()},
                                 {"uid", tenant.uid},
                                 {"added", tenant.added},
                                 {"keys", keys},
                                 {"suspended", tenant.suspended ? Json(*tenant.suspended) : Json()},
                                 {"quota",
                                  {{"machines", q.machines},
                                   {"vcpu", q.vcpu},
                                   {"mem_mib", q.mem_mib},
                                   {"disk_mib", q.disk_mib},
                                   {"cache_mib", q.cache_mib}}}}) +
                          "\n");
            continue;
        }
        write_all(STDOUT_FILENO,
                  fmt::format("{:<31} {:>6}  {} machines, {} vcpu, {} MiB memory, {} MiB disk, {} "
                              "keys{}{}\n",
                              name.str(), tenant.uid, q.machines, q.vcpu, q.mem_mib, q.disk_mib,
                              keys.size(), tenant.added ? "" : ", of the configuration",
                              tenant.suspended ? ", suspended: " + *tenant.suspended : ""));
    }
    return 0;
}

void add_quota_options(CLI::App& verb, QuotaWords& quota) {
    const CLI::Range any(std::int64_t{0}, std::int64_t{1} << 40);
    verb.add_option("--machines", quota.machines, "machines")->check(any);
    verb.add_option("--vcpu", quota.vcpu, "virtual CPUs of all machines together")->check(any);
    verb.add_option("--mem", quota.mem, "memory of all machines together, MiB")->check(any);
    verb.add_option("--disk", quota.disk, "volumes of all machines together, MiB")->check(any);
    verb.add_option("--cache", quota.cache, "the cache of deployments, MiB")->check(any);
}

void add_key_verbs(CLI::App& tenant, Cli& cli, const std::shared_ptr<Words>& words) {
    auto* key = tenant.add_subcommand("key", "keys that count beside those of the configuration");
    key->require_subcommand(1);
    const auto verb = [&](const char* name, const char* what, auto action) {
        auto* made = key->add_subcommand(name, what);
        made->add_option("TENANT", words->tenant)->required();
        made->callback([&cli, w = words.get(), action] {
            w->action = [&cli, w, action] { return action(cli, *w); };
        });
        return made;
    };
    auto* adding = verb("add", "let a key in", key_add);
    adding->add_option("NAME", words->key, "the key's")->required();
    adding->add_option("FILE", words->file, "its .pub file (default: stdin)");
    verb("rm", "let it in no more", key_rm)
        ->add_option("NAME", words->key, "the key's")
        ->required();
    verb("list", "names and fingerprints", key_list);
}

} // namespace

std::function<std::function<int()>()> declare_tenant(Cli& cli) {
    auto words = std::make_shared<Words>();
    auto* tenant = cli.app().add_subcommand("tenant", "root: tenants without a new configuration");
    tenant->require_subcommand(1);
    const auto verb = [&](const char* name, const char* what, bool named, auto action) {
        auto* made = tenant->add_subcommand(name, what);
        if (named) {
            made->add_option("TENANT", words->tenant)->required();
        }
        made->callback([&cli, w = words.get(), action] {
            w->action = [&cli, w, action] { return action(cli, *w); };
        });
        return made;
    };
    auto* adding = verb("add", "a tenant more", true, add);
    adding->add_option("--key", words->file, "the .pub file of its first key");
    adding->add_option("--key-name", words->key, "that key's name (default: first)");
    add_quota_options(*adding, words->quota);
    add_quota_options(*verb("quota", "what it may have, changed", true, quota), words->quota);
    add_key_verbs(*tenant, cli, words);
    verb("suspend", "shut the door; machines run on", true, [](Cli& c, const Words& w) {
        return suspend(c, w, true);
    })->add_option("WHY", words->why, "what the tenant is told");
    verb("resume", "open it again", true,
         [](Cli& c, const Words& w) { return suspend(c, w, false); });
    verb("rm", "a tenant less", true, remove)
        ->add_flag("--data", words->data, "end its machines, remove its volumes");
    verb("list", "who there is", false, list)->add_flag("--json", words->json, "as JSON lines");
    return [words] { return words->action; };
}

} // namespace sky::shell
