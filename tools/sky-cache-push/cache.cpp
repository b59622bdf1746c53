// SPDX-License-Identifier: MIT
#include "cache.hpp"

#include <sky/error.hpp>
#include <sky/hash.hpp>
#include <sky/log.hpp>
#include <sky/name.hpp>
#include <sky/zstd.hpp>

#include <cerrno>
#include <fcntl.h>
#include <memory>
#include <random>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace sky::cache {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kInfo = "StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 50\n";
constexpr std::chrono::minutes kLockLimit{10}; // a publication or a sweep: minutes at the worst
constexpr std::size_t kBuffer = 1U << 20U;
constexpr mode_t kFileMode = 0600;

fs::path random_in(const fs::path& directory) {
    std::random_device random;
    return directory / fmt::format("{:08x}{:08x}", random(), random());
}

fs::path info_draft(const Staged& staged) {
    return staged.file.native() + ".narinfo";
}

} // namespace

void Staging::sweep(const fs::path& parent) {
    std::vector<fs::path> dead;
    for (const auto& entry : fs::directory_iterator(parent)) {
        const Fd fd(::open(entry.path().c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
        // Not there: its push has just removed it.
        if (fd && ::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) {
            dead.push_back(entry.path());
        }
    }
    for (const auto& path : dead) {
        fs::remove_all(path);
    }
}

Staging::Staging(const fs::path& parent) {
    sweep(parent);
    directory_ = random_in(parent);
    make_own_directories(directory_);
    lock_ = open_file(directory_, O_RDONLY | O_DIRECTORY);
    if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
        fail_errno("cannot lock '{}'", directory_.string());
    }
}

Staging::~Staging() {
    std::error_code stays; // the next push sweeps it
    fs::remove_all(directory_, stays);
}

void make_own_directories(const fs::path& path) {
    if (::mkdir(path.c_str(), 0750) == 0 || errno == EEXIST) {
        return;
    }
    if (errno != ENOENT) {
        fail_errno("cannot make directory '{}'", path.string());
    }
    make_own_directories(path.parent_path());
    if (::mkdir(path.c_str(), 0750) != 0 && errno != EEXIST) {
        fail_errno("cannot make directory '{}'", path.string());
    }
}

std::uint64_t bytes_below(const fs::path& directory) {
    // By hand: a recursive iterator ends or throws at a directory that another push has just
    // removed.
    std::uint64_t sum = 0;
    std::error_code gone;
    for (const auto& entry : fs::directory_iterator(directory, gone)) {
        std::error_code ignored;
        if (entry.is_directory(ignored)) {
            sum += bytes_below(entry.path());
        } else {
            const auto size = entry.file_size(ignored);
            sum += ignored ? 0 : size;
        }
    }
    return sum;
}

void Cache::prepare() const {
    if (::mkdir(directory_.c_str(), S_IRWXU) != 0 && errno != EEXIST) {
        fail_errno("cannot make directory '{}'", directory_.string());
    }
    make_own_directories(directory_ / "nar");
    make_own_directories(staging());
    const auto info = directory_ / "nix-cache-info";
    if (!fs::exists(info)) {
        atomic_write(info, kInfo, {.mode = kFileMode});
    }
}

Lock Cache::lock() const {
    return Lock::take(directory_ / "lock", "sky-cache-push", kLockLimit);
}

Cache::Cache(const State& state, const Tenant& tenant)
    : directory_(state.cache(tenant)), public_key_(state.keys() / (tenant.str() + ".pub")) {}

std::optional<NarInfo> Cache::find(const StorePath& path) const {
    const auto file = info_file(path);
    try {
        const auto text = read_file_if_exists(file, kNarInfoCap);
        return text ? std::optional(checked(parse_narinfo(*text), path)) : std::nullopt;
    } catch (const Error& e) {
        if (told_.insert(file).second) {
            log::warn("'{}': {} (a push brings it anew)", file.string(), e.what());
        }
        return std::nullopt;
    }
}

NarInfo Cache::checked(NarInfo info, const StorePath& path) const {
    if (info.path != path || !info.compressed) {
        fail(ExitCode::kData, "of another path or form");
    }
    if (!key_text_) {
        key_text_ = read_file_if_exists(public_key_, 4096).value_or("");
        key_text_->erase(key_text_->find_last_not_of('\n') + 1);
    }
    if (!verify_signature(*key_text_, info.fingerprint(), info.signature.value_or(""))) {
        fail(ExitCode::kData, "not signed with '{}'", public_key_.string());
    }
    struct stat nar {};
    const auto name = info.url();
    if (::stat((directory_ / name).c_str(), &nar) != 0) {
        fail_errno("its '{}'", name);
    }
    if (!S_ISREG(nar.st_mode) || static_cast<std::uint64_t>(nar.st_size) != info.compressed->size) {
        fail(ExitCode::kData, "its '{}' has another size", name);
    }
    return info;
}

bool Cache::sound(const NarInfo& info) const {
    try {
        Hasher hasher;
        const auto source = open_nar(info);
        std::vector<char> buffer(kBuffer);
        for (auto n = source(buffer.data(), buffer.size()); n > 0;
             n = source(buffer.data(), buffer.size())) {
            hasher.update({buffer.data(), n});
        }
        if (hasher.size() == info.nar_size && hasher.finish() == info.nar_hash) {
            return true;
        }
        log::warn("'{}' in the cache: not the NAR that its narinfo says", info.path.base());
    } catch (const Error& e) {
        log::warn("'{}' in the cache: {}", info.path.base(), e.what());
    }
    return false;
}

bool Cache::drop_damaged(const StorePath& path) const {
    auto info = find(path);
    if (!info || sound(*info)) {
        return false;
    }
    const auto held = lock(); // another push may have brought it meanwhile
    info = find(path);
    if (!info || sound(*info)) {
        return false;
    }
    if (::unlink(info_file(path).c_str()) != 0 && errno != ENOENT) {
        fail_errno("cannot remove '{}'", info_file(path).string());
    }
    return true;
}

void Cache::touch(const StorePath& path) const {
    if (::utimensat(AT_FDCWD, info_file(path).c_str(), nullptr, 0) != 0 && errno != ENOENT) {
        fail_errno("cannot touch '{}'", info_file(path).string());
    }
}

Source Cache::open_nar(const NarInfo& info) const {
    auto file = std::make_shared<Fd>(open_file(directory_ / info.url(), O_RDONLY | O_NOFOLLOW));
    const auto bytes = fd_source(file->get());
    return zstd_source(
        [file, bytes](char* buffer, std::size_t size) { return bytes(buffer, size); });
}

Staged Cache::stage(const Staging& staging, const NarInfo& declared, const Source& source,
                    std::uint64_t budget) {
    const auto path = staging.directory() / declared.path.hash();
    const Fd fd = open_file(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, kFileMode);
    Hasher plain;
    Hasher packed;
    ZstdWriter zstd([&](std::string_view data) {
        packed.update(data);
        if (packed.size() > budget) {
            fail(ExitCode::kRefused, "quota: the cache is full (ask the operator)");
        }
        write_all(fd.get(), data);
    });
    const Source tee = [&](char* buffer, std::size_t size) {
        const auto n = source(buffer, size);
        plain.update({buffer, n});
        zstd.write({buffer, n});
        return n;
    };
    NarVisitor checks_only;
    nar_parse(tee, checks_only, {.bytes = declared.nar_size});
    zstd.finish();
    if (plain.size() != declared.nar_size || plain.finish() != declared.nar_hash) {
        fail(ExitCode::kData, "not the NAR that its narinfo says");
    }
    auto info = declared;
    info.signature.reset();
    const auto size = packed.size();
    info.compressed = NarInfo::Compressed{.hash = packed.finish(), .size = size};
    return {std::move(info), path};
}

void Cache::publish_nar(const Staged& staged) const {
    const auto to = directory_ / staged.info.url();
    if (::rename(staged.file.c_str(), to.c_str()) != 0) {
        fail_errno("cannot rename to '{}'", to.string());
    }
}

void Cache::sign_info(const Staged& staged, const SigningKey& key) {
    auto whole = staged.info;
    whole.signature = key.sign(whole.fingerprint());
    const Fd fd =
        open_file(info_draft(staged), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, kFileMode);
    write_all(fd.get(), print_narinfo(whole));
}

void Cache::publish_info(const Staged& staged) const {
    const auto to = info_file(staged.info.path);
    if (::rename(info_draft(staged).c_str(), to.c_str()) != 0) {
        fail_errno("cannot rename to '{}'", to.string());
    }
}

void Cache::sync() const {
    const Fd fd = open_file(directory_, O_RDONLY | O_DIRECTORY);
    if (::syncfs(fd.get()) != 0) {
        fail_errno("cannot sync '{}'", directory_.string());
    }
}

SigningKey load_key(const State& state, const Tenant& tenant) {
    const auto secret = state.keys() / (tenant.str() + ".key");
    const auto name = "skyflake-" + tenant.str();
    const auto text = read_file_if_exists(secret, 4096);
    auto key = text ? SigningKey::parse(*text) : SigningKey::generate(name);
    if (key.name() != name) {
        fail(ExitCode::kConfig, "'{}' is the key of another", secret.string());
    }
    if (!text) {
        atomic_write(secret, key.secret_text() + "\n", {.mode = 0600});
    }
    const auto pub = state.keys() / (tenant.str() + ".pub");
    if (!text || !fs::exists(pub)) {
        atomic_write(pub, key.public_text() + "\n", {.mode = 0644});
    }
    return key;
}

} // namespace sky::cache
