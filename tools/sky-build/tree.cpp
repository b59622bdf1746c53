// SPDX-License-Identifier: MIT
#include <sky-build/tree.hpp>

#include <sky/error.hpp>
#include <sky/fd.hpp>
#include <sky/freed.hpp>

#include <git2.h>

#include <algorithm>
#include <cctype>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace sky::build {

namespace {

using TreePtr = std::unique_ptr<git_tree, Freed<git_tree_free>>;
using BlobPtr = std::unique_ptr<git_blob, Freed<git_blob_free>>;
using CommitPtr = std::unique_ptr<git_commit, Freed<git_commit_free>>;
using OdbPtr = std::unique_ptr<git_odb, Freed<git_odb_free>>;

std::string git_reason() {
    const git_error* error = git_error_last();
    return printable(error != nullptr ? error->message : "no reason given", 120);
}

void setup_libgit2() {
    static const bool once = [] {
        git_libgit2_init();
        // Only the repo's own configuration; of that, nothing matters to reading objects.
        for (const int level : {GIT_CONFIG_LEVEL_SYSTEM, GIT_CONFIG_LEVEL_XDG,
                                GIT_CONFIG_LEVEL_GLOBAL, GIT_CONFIG_LEVEL_PROGRAMDATA}) {
            git_libgit2_opts(GIT_OPT_SET_SEARCH_PATH, level, "");
        }
        return true;
    }();
    static_cast<void>(once);
}

git_oid parse_oid(const std::string& hex) {
    git_oid oid{};
    if (git_oid_fromstr(&oid, hex.c_str()) != 0) {
        fail(ExitCode::kData, "not an object id: '{}'", printable(hex));
    }
    return oid;
}

std::string oid_text(const git_oid& oid) {
    std::string text(GIT_OID_HEXSZ, '0');
    git_oid_fmt(text.data(), &oid);
    return text;
}

/// Walks one commit's tree depth first, checks each entry and writes it if there is a directory.
class Walk {
  public:
    Walk(git_repository* repository, const TreeLimits& limits)
        : repository_(repository), limits_(&limits) {
        git_odb* odb = nullptr;
        if (git_repository_odb(&odb, repository) != 0) {
            fail(ExitCode::kData, "cannot read the repo's objects: {}", git_reason());
        }
        odb_.reset(odb);
    }

    void tree(const git_oid& oid, std::optional<int> directory, const std::string& prefix,
              std::size_t depth) {
        if (depth > limits_->depth) {
            fail(ExitCode::kData, "the tree is deeper than {} directories", limits_->depth);
        }
        git_tree* raw = nullptr;
        if (git_tree_lookup(&raw, repository_, &oid) != 0) {
            fail(ExitCode::kData, "cannot read the tree '{}': {}", printable(prefix), git_reason());
        }
        const TreePtr tree(raw);
        const std::size_t count = git_tree_entrycount(raw);
        for (std::size_t i = 0; i < count; ++i) {
            entry(*git_tree_entry_byindex(raw, i), directory, prefix, depth);
        }
    }

    TreeStats stats;

  private:
    void entry(const git_tree_entry& e, std::optional<int> directory, const std::string& prefix,
               std::size_t depth) {
        const std::string name = git_tree_entry_name(&e);
        const std::string path = prefix + name;
        if (const auto bad = bad_entry_name(name)) {
            fail(ExitCode::kData, "the tree has an entry '{}' that {}", printable(path), *bad);
        }
        if (++stats.entries > limits_->entries) {
            fail(ExitCode::kData, "the tree has more than {} entries", limits_->entries);
        }
        const git_oid& oid = *git_tree_entry_id(&e);
        switch (static_cast<unsigned>(git_tree_entry_filemode_raw(&e))) {
        case GIT_FILEMODE_TREE:
            subtree(oid, directory, name, path, depth);
            return;
        case GIT_FILEMODE_BLOB:
        case 0100664: // written by very old gits
            stats.flake = stats.flake || path == "flake.nix";
            file(oid, directory, name, path, 0644);
            return;
        case GIT_FILEMODE_BLOB_EXECUTABLE:
            stats.flake = stats.flake || path == "flake.nix";
            file(oid, directory, name, path, 0755);
            return;
        case GIT_FILEMODE_LINK:
            link(oid, directory, name, path);
            return;
        case GIT_FILEMODE_COMMIT:
            fail(ExitCode::kData,
                 "'{}' is a submodule, which is not supported (make it a flake input)",
                 printable(path));
        default:
            fail(ExitCode::kData, "'{}' has an unknown mode", printable(path));
        }
    }

    void subtree(const git_oid& oid, std::optional<int> directory, const std::string& name,
                 const std::string& path, std::size_t depth) {
        if (!directory) {
            tree(oid, std::nullopt, path + "/", depth + 1);
            return;
        }
        if (::mkdirat(*directory, name.c_str(), 0755) != 0) {
            fail_errno("cannot make the directory '{}'", printable(path));
        }
        const Fd child(
            ::openat(*directory, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!child) {
            fail_errno("cannot open the directory '{}'", printable(path));
        }
        tree(oid, child.get(), path + "/", depth + 1);
    }

    /// Counts the blob's size, before it is in memory.
    void count(const git_oid& oid, const std::string& path) {
        std::size_t size = 0;
        git_object_t type{};
        if (git_odb_read_header(&size, &type, odb_.get(), &oid) != 0 || type != GIT_OBJECT_BLOB) {
            fail(ExitCode::kData, "cannot read '{}': {}", printable(path), git_reason());
        }
        stats.bytes += size;
        if (stats.bytes > limits_->bytes) {
            fail(ExitCode::kData, "the tree is larger than {} MiB", limits_->bytes >> 20);
        }
    }

    BlobPtr blob(const git_oid& oid, const std::string& path) const {
        git_blob* raw = nullptr;
        if (git_blob_lookup(&raw, repository_, &oid) != 0) {
            fail(ExitCode::kData, "cannot read '{}': {}", printable(path), git_reason());
        }
        return BlobPtr(raw);
    }

    static std::string_view content(const git_blob* blob) {
        return {static_cast<const char*>(git_blob_rawcontent(blob)),
                static_cast<std::size_t>(git_blob_rawsize(blob))};
    }

    void file(const git_oid& oid, std::optional<int> directory, const std::string& name,
              const std::string& path, mode_t mode) {
        count(oid, path);
        if (!directory) {
            return;
        }
        const BlobPtr data = blob(oid, path);
        const Fd fd(::openat(*directory, name.c_str(),
                             O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
        if (!fd) {
            fail_errno("cannot write '{}'", printable(path));
        }
        write_all(fd.get(), content(data.get()));
    }

    void link(const git_oid& oid, std::optional<int> directory, const std::string& name,
              const std::string& path) {
        count(oid, path);
        const BlobPtr data = blob(oid, path);
        const std::string target(content(data.get()));
        if (target.empty() || target.size() > 4095 || target.find('\0') != std::string::npos) {
            fail(ExitCode::kData, "the link '{}' has a bad target", printable(path));
        }
        if (directory && ::symlinkat(target.c_str(), *directory, name.c_str()) != 0) {
            fail_errno("cannot make the link '{}'", printable(path));
        }
    }

    git_repository* repository_;
    OdbPtr odb_;
    const TreeLimits* limits_;
};

} // namespace

std::optional<std::string> bad_entry_name(std::string_view name) {
    std::string lower(name);
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (name.empty() || name == "." || name == ".." || lower == ".git") {
        return "may not be in a tree";
    }
    if (name.find('/') != std::string_view::npos || name.find('\0') != std::string_view::npos) {
        return "has a '/' or a NUL in its name";
    }
    if (name.size() > 255) {
        return "has a name of more than 255 bytes";
    }
    return std::nullopt;
}

void Repository::Close::operator()(git_repository* repository) const noexcept {
    git_repository_free(repository);
}

Repository::Repository(const std::filesystem::path& path) {
    setup_libgit2();
    git_repository* raw = nullptr;
    const int code = git_repository_open_ext(
        &raw, path.c_str(), GIT_REPOSITORY_OPEN_NO_SEARCH | GIT_REPOSITORY_OPEN_BARE, nullptr);
    if (code == GIT_ENOTFOUND) {
        fail(ExitCode::kRefused, "no repo '{}'", path.stem().string());
    }
    if (code != 0) {
        fail(ExitCode::kData, "cannot open the repo '{}': {}", path.stem().string(), git_reason());
    }
    repository_.reset(raw);
}

Revision Repository::resolve(const std::string& text) const {
    if (Revision::valid(text)) {
        return Revision::parse(text);
    }
    const std::string ref = text == "HEAD" ? text : "refs/heads/" + text;
    git_oid oid{};
    int valid = 0;
    if (git_reference_name_is_valid(&valid, ref.c_str()) != 0 || valid == 0 ||
        git_reference_name_to_id(&oid, repository_.get(), ref.c_str()) != 0) {
        fail(ExitCode::kData, "no commit '{}' (give 40 hex digits, HEAD or a branch)",
             printable(text));
    }
    return Revision::parse(oid_text(oid));
}

bool Repository::has_branch(const std::string& name) const {
    git_oid oid{};
    const int code =
        git_reference_name_to_id(&oid, repository_.get(), ("refs/heads/" + name).c_str());
    if (code != 0 && code != GIT_ENOTFOUND) {
        fail(ExitCode::kData, "cannot read branch '{}': {}", printable(name), git_reason());
    }
    return code == 0;
}

std::string Repository::tree_of(const Revision& commit) const {
    const git_oid oid = parse_oid(commit.str());
    git_commit* raw = nullptr;
    if (git_commit_lookup(&raw, repository_.get(), &oid) != 0) {
        fail(ExitCode::kData, "no commit {} in the repo", commit.str().substr(0, 7));
    }
    const CommitPtr owned(raw);
    return oid_text(*git_commit_tree_id(raw));
}

TreeStats Repository::read_tree(const std::string& tree, std::optional<int> directory,
                                const TreeLimits& limits) const {
    Walk walk(repository_.get(), limits);
    walk.tree(parse_oid(tree), directory, "", 0);
    return walk.stats;
}

} // namespace sky::build
