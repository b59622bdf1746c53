// SPDX-License-Identifier: MIT
#include "push.hpp"
#include "cache.hpp"
#include "closure.hpp"
#include "outbox.hpp"
#include "roots.hpp"

#include <sky/error.hpp>
#include <sky/json.hpp>
#include <sky/log.hpp>
#include <sky/record.hpp>
#include <sky/write-together.hpp>

#include <algorithm>
#include <ctime>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sys/stat.h>

namespace sky::cache {
namespace {

constexpr std::uint64_t kMib = 1U << 20U;

/// What an object of the pipe says, checked.
struct Request {
    MachinePath machine;
    Revision rev;
    BuildId build;
    StorePath deployment;
};

Request parse_request(const PushContext& context, const Json& object) {
    Fields f(object, ""); // no done(): unknown keys are for others
    static_cast<void>(f.integer("v", 1, 1));
    const auto named = context.tenant ? context.tenant : f.optional_string("tenant");
    return {.machine = {context.caller.tenant_for(named), Repo::parse(f.string("repo")),
                        Machine::parse(f.string("machine"))},
            .rev = Revision::parse(f.string("rev")),
            .build = BuildId::parse(f.string("build")),
            .deployment = StorePath::parse(f.string("deployment"))};
}

std::optional<Record> old_record(const std::filesystem::path& file) {
    try {
        const auto text = read_file_if_exists(file, kRecordCap);
        return text ? std::optional(parse_record(*text)) : std::nullopt;
    } catch (const Error& e) {
        log::warn("'{}': {} (written anew)", file.string(), e.what());
        return std::nullopt;
    }
}

/// The record of a deployment whose closure is in the cache; nothing where it stands already. Makes
/// its directory.
std::optional<FileWrite> record_write(const State& state, const Request& request,
                                      const Closure& closure, std::string manifest) {
    Record record{.machine = request.machine,
                  .rev = request.rev,
                  .build = request.build,
                  .created = now_text(),
                  .deployment = request.deployment,
                  .nar_hash = closure.at(request.deployment).nar_hash,
                  .closure = record_paths(closure),
                  .manifest = std::move(manifest)};
    const auto file = state.deployment(request.machine, request.rev);
    if (auto same = old_record(file)) {
        same->build = record.build; // another push of the same: the record stays as it is
        same->created = record.created;
        if (*same == record) {
            return std::nullopt;
        }
    }
    make_own_directories(file.parent_path());
    return FileWrite{file, print_record(record), {.mode = 0640}};
}

void tell(const Machine& machine, std::size_t paths, std::size_t fresh, std::uint64_t bytes) {
    log::say(fmt::format("       {}: {} paths, {} new, {:.1f} MiB", machine.str(), paths, fresh,
                         static_cast<double>(bytes) / static_cast<double>(kMib)));
}

/// One deployment on its way into the cache.
class Push {
  public:
    Push(const PushContext& context, Request request)
        : context_(context), request_(std::move(request)),
          tenant_(context.config.tenant(request_.machine.tenant)), state_(context.config),
          cache_(state_, request_.machine.tenant),
          outbox_(state_, request_.machine.tenant, request_.build, tenant_.uid),
          quota_(static_cast<std::uint64_t>(tenant_.quota.cache_mib) * kMib) {}

    void run() {
        if (context_.dry_run) {
            report(collect_all().size(), 0);
            return;
        }
        cache_.prepare();
        begin();
        stage_missing();
        report(finish(), staged_.size());
    }

  private:
    Closure collect_all() {
        return collect(
            request_.deployment,
            [&](const StorePath& path) {
                context_.still_wanted();
                auto info = cache_.find(path);
                return info ? info : outbox_.find(path);
            },
            quota_);
    }

    /// Of the tenant's cache, with what other pushes stage, and of its records.
    [[nodiscard]] std::uint64_t bytes_used() const {
        return bytes_below(cache_.directory()) +
               bytes_below(state_.shared() / "deployments" / request_.machine.tenant.str());
    }

    /// The root before the first byte: what the garbage collector sees of this push is already
    /// rooted.
    void begin() {
        const auto lock = cache_.lock();
        const auto file = state_.gcroot(request_.machine);
        const auto roots = load_roots(file);
        save_roots(file, with_root(roots, {request_.rev, request_.deployment, std::time(nullptr)}));
        staging_.emplace(cache_.staging());
    }

    void stage_missing() {
        const auto closure = collect_all();
        const bool whole = std::all_of(closure.begin(), closure.end(), [](const auto& entry) {
            return entry.second.compressed.has_value();
        });
        std::uint64_t used = whole ? 0 : bytes_used(); // looks at every file
        for (const auto& [path, info] : closure) {
            if (info.compressed) {
                continue; // the cache's own
            }
            const Fd nar = outbox_.open_nar(info);
            const auto bytes = fd_source(nar.get());
            const Source watched = [&](char* buffer, std::size_t size) {
                context_.still_wanted();
                return bytes(buffer, size);
            };
            auto staged = stage(info, watched, quota_ - std::min(quota_, used));
            used += staged.info.compressed->size;
            fresh_ += info.nar_size;
            staged_.emplace(path, std::move(staged));
        }
    }

    /// What is wrong with what the tenant left is told by its name.
    Staged stage(const NarInfo& info, const Source& source, std::uint64_t budget) const {
        try {
            return Cache::stage(*staging_, info, source, budget);
        } catch (const Error& e) {
            if (e.code() != ExitCode::kData) {
                throw;
            }
            fail(e.code(), "'{}': {} (push again)", info.path.base().substr(33), e.what());
        }
    }

    /// From here on only what is ours is touched, so the lock waits for nobody. How many paths the
    /// closure has.
    std::size_t finish() {
        const auto lock = cache_.lock();
        const auto closure = publish();
        write_record(closure);
        return closure.size();
    }

    /// NARs first, then narinfos, the deployment's own last; each has its bytes on the disk before
    /// it has its name. Another push may have been faster with some of the paths: then the cache's
    /// are taken, and the closure is looked at again.
    Closure publish() {
        auto closure = collect(
            request_.deployment,
            [&](const StorePath& path) {
                auto info = cache_.find(path);
                const auto at = staged_.find(path);
                if (!info && at == staged_.end()) {
                    fail(ExitCode::kBusy, "the cache changed meanwhile (push again)");
                }
                return info ? info : at->second.info;
            },
            quota_);
        std::erase_if(staged_,
                      [&](const auto& entry) { return cache_.find(entry.first).has_value(); });
        if (staged_.empty()) {
            return closure;
        }
        if (bytes_used() > quota_) {
            fail(ExitCode::kRefused, "quota: the cache is full (ask the operator)");
        }
        const auto key = load_key(state_, request_.machine.tenant);
        for (auto& [path, staged] : staged_) {
            cache_.publish_nar(staged);
            Cache::sign_info(staged, key);
        }
        cache_.sync();
        for (const auto& [path, staged] : staged_) {
            if (path != request_.deployment) {
                cache_.publish_info(staged);
            }
        }
        if (const auto at = staged_.find(request_.deployment); at != staged_.end()) {
            cache_.publish_info(at->second);
        }
        cache_.sync();
        return closure;
    }

    void write_record(const Closure& closure) {
        const auto& top = closure.at(request_.deployment);
        const auto write =
            record_write(state_, request_, closure, manifest_of(cache_.open_nar(top)));
        if (write) {
            atomic_write(write->path, write->data, write->options);
        }
    }

    void report(std::size_t paths, std::size_t fresh) const {
        tell(request_.machine.machine, paths, fresh, fresh_);
    }

    const PushContext& context_;
    Request request_;
    const TenantConfig& tenant_;
    State state_;
    Cache cache_;
    Outbox outbox_;
    std::uint64_t quota_; ///< bytes: of the cache, and of a closure unpacked
    std::optional<Staging> staging_;
    std::map<StorePath, Staged> staged_;
    std::uint64_t fresh_ = 0; ///< NAR bytes staged
};

/// Deployments of one tenant that are in the cache already: each path is looked at once, and the
/// disk is waited for once for all. Holds the cache's lock.
class Again {
  public:
    Again(const PushContext& context, const Tenant& tenant)
        : context_(context), state_(context.config), cache_(state_, tenant),
          quota_(static_cast<std::uint64_t>(context.config.tenant(tenant).quota.cache_mib) * kMib) {
        cache_.prepare();
        lock_.emplace(cache_.lock());
        Staging::sweep(cache_.staging());
    }

    /// Throws Error where the cache has not all of it.
    void add(const Request& request) {
        const auto closure = collect(
            request.deployment,
            [&](const StorePath& path) {
                context_.still_wanted();
                const auto seen = seen_.find(path);
                return seen != seen_.end() ? seen->second
                                           : seen_.emplace(path, cache_.find(path)).first->second;
            },
            quota_);
        auto manifest = manifest_of(cache_.open_nar(closure.at(request.deployment)));
        const auto file = state_.gcroot(request.machine);
        const auto at = roots_.find(file);
        auto roots = with_root(at != roots_.end() ? at->second : load_roots(file),
                               {request.rev, request.deployment, std::time(nullptr)});
        make_own_directories(file.parent_path());
        if (auto record = record_write(state_, request, closure, std::move(manifest))) {
            records_.push_back(std::move(*record));
        }
        roots_.insert_or_assign(file, std::move(roots));
        told_.emplace_back(request.machine.machine, closure.size());
    }

    /// Roots get their names before records do.
    void finish() {
        std::vector<FileWrite> writes;
        for (const auto& [file, roots] : roots_) {
            writes.push_back({file, print_roots(roots), {.mode = 0640}});
        }
        std::move(records_.begin(), records_.end(), std::back_inserter(writes));
        atomic_write_together(writes);
        lock_.reset();
        for (const auto& [machine, paths] : told_) {
            tell(machine, paths, 0, 0);
        }
    }

  private:
    const PushContext& context_;
    State state_;
    Cache cache_;
    std::uint64_t quota_;
    std::optional<Lock> lock_;
    std::map<StorePath, std::optional<NarInfo>> seen_;
    std::map<std::filesystem::path, Roots> roots_;
    std::vector<FileWrite> records_;
    std::vector<std::pair<Machine, std::size_t>> told_;
};

} // namespace

void push_known(const PushContext& context, const std::vector<Json*>& objects,
                const std::function<void(Json&, const Error&)>& refuse) {
    std::map<Tenant, std::vector<std::pair<Json*, Request>>> groups;
    for (Json* object : objects) {
        try {
            auto request = parse_request(context, *object);
            groups[request.machine.tenant].emplace_back(object, std::move(request));
        } catch (const Error& e) {
            refuse(*object, e);
        }
    }
    for (const auto& [tenant, members] : groups) {
        std::vector<Json*> good;
        try {
            Again again(context, tenant);
            for (const auto& [object, request] : members) {
                try {
                    again.add(request);
                    good.push_back(object);
                } catch (const Error& e) {
                    refuse(*object, e);
                }
            }
            again.finish();
            for (Json* object : good) {
                (*object)["cached"] = true;
            }
        } catch (const Error& e) {
            for (const auto& [object, request] : members) {
                if (!object->contains("error")) {
                    refuse(*object, e);
                }
            }
        }
    }
}

void push_one(const PushContext& context, Json& object) {
    Push(context, parse_request(context, object)).run();
    if (!context.dry_run) {
        object["cached"] = true;
    }
}

} // namespace sky::cache
