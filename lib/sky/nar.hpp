// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace sky {

/// Takes the next bytes of a stream. May throw.
using Sink = std::function<void(std::string_view)>;
/// Fills `buffer` with 1..size bytes and says how many; 0 is the end. May throw.
using Source = std::function<std::size_t(char* buffer, std::size_t size)>;

/// Reads from a descriptor, which stays the caller's. Throws SysError.
[[nodiscard]] Source fd_source(int fd);
/// Reads `data`, which must outlive it.
[[nodiscard]] Source string_source(std::string_view data);
/// Writes to a descriptor, which stays the caller's. Throws SysError.
[[nodiscard]] Sink fd_sink(int fd);

/// What a NAR may be at most; more is Error(kData).
struct NarLimits {
    std::uint64_t bytes = std::uint64_t{64} << 30; ///< of the whole stream
    std::uint64_t nodes = 4'000'000;               ///< files, directories and links
    std::size_t depth = 128; ///< of directories; a restore holds a descriptor per level
};

/// The events of a NAR, in its order: a node is directory_begin (entry NODE)* directory_end, or
/// file_begin file_data* file_end, or symlink. Names and targets were checked.
class NarVisitor {
  public:
    NarVisitor() = default;
    NarVisitor(const NarVisitor&) = delete;
    NarVisitor& operator=(const NarVisitor&) = delete;
    virtual ~NarVisitor() = default;

    virtual void directory_begin() {}
    /// The next node is the child `name` of the innermost open directory.
    virtual void entry(std::string_view /*name*/) {}
    virtual void directory_end() {}
    virtual void file_begin(bool /*executable*/, std::uint64_t /*size*/) {}
    virtual void file_data(std::string_view /*data*/) {}
    virtual void file_end() {}
    virtual void symlink(std::string_view /*target*/) {}
};

/// Writes the NAR of the events that it is given, byte for byte as nix does. Entries must come
/// sorted by name (bytes), and as many file_data bytes as file_begin said: Error(kBug) otherwise.
/// finish() ends the stream.
class NarWriter : public NarVisitor {
  public:
    explicit NarWriter(Sink sink);
    void directory_begin() override;
    void entry(std::string_view name) override;
    void directory_end() override;
    void file_begin(bool executable, std::uint64_t size) override;
    void file_data(std::string_view data) override;
    void file_end() override;
    void symlink(std::string_view target) override;
    /// Throws Error(kBug) if no whole node was written.
    void finish();

  private:
    void text(std::string_view value);
    void number(std::uint64_t value);
    void node_end();

    Sink sink_;
    std::vector<std::string> last_; ///< for each open directory the last name in it
    std::uint64_t expected_ = 0;    ///< bytes of the open file that are to come
    std::uint64_t padding_ = 0;
    bool whole_ = false;
};

/// True for a name that may stand in a NAR: 1..255 bytes, not "." or "..", no '/' and no NUL.
[[nodiscard]] bool nar_name_valid(std::string_view name) noexcept;

/// Reads one NAR to its end and calls the visitor. Strict: canonical tokens, zero padding, names
/// valid, sorted and without duplicates, nothing after the end. Constant memory. Error(kData) says
/// what is wrong; what the source and the visitor throw goes through.
void nar_parse(const Source& source, NarVisitor& visitor, const NarLimits& limits = {});

/// Writes the NAR of a file, link or directory. For trees that nobody changes meanwhile or that are
/// the caller's own: links are never followed below `path`, a file that changes its size is
/// Error(kData). Throws SysError.
void nar_dump(const std::filesystem::path& path, const Sink& sink);

/// Unpacks a NAR as `name` in `directory` (a descriptor), where `name` must not exist yet.
/// Everything is made with O_EXCL and O_NOFOLLOW relative to descriptors; modes 0444, 0555 and
/// 0555, mtime 1, owner: the caller. What stands there when it throws is incomplete: the caller
/// removes it. Throws Error(kData), SysError.
void nar_restore(const Source& source, int directory, const std::string& name,
                 const NarLimits& limits = {});

} // namespace sky
