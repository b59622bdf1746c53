// SPDX-License-Identifier: MIT
// The format: https://nixos.org/guides/nix-pills and figure 5.2 of Eelco Dolstra's thesis. A token
// is a little-endian 64-bit length, the bytes, and zeros up to a multiple of 8.
#include <sky/nar.hpp>

#include <sky/error.hpp>
#include <sky/name.hpp>

#include <algorithm>
#include <array>
#include <cstring>

namespace sky {
namespace {

constexpr std::string_view kMagic = "nix-archive-1";
constexpr std::size_t kTokenMost = 16; // the longest keyword is the magic
constexpr std::size_t kNameMost = 255;
constexpr std::size_t kTargetMost = 4095;
constexpr std::size_t kBufferSize = 65536;

constexpr std::uint64_t padding_of(std::uint64_t size) {
    return (8 - size % 8) % 8;
}

template <typename... Args>
[[noreturn]] void bad(fmt::format_string<Args...> format, Args&&... args) {
    throw Error(ExitCode::kData, "bad NAR: " + fmt::format(format, std::forward<Args>(args)...));
}

class Reader {
  public:
    Reader(const Source& source, std::uint64_t most)
        : source_(source), most_(most), buffer_(kBufferSize) {}

    std::uint64_t number() {
        std::array<char, 8> bytes{};
        exact(bytes.data(), bytes.size());
        std::uint64_t value = 0;
        for (std::size_t i = bytes.size(); i-- > 0;) {
            value = value << 8U | static_cast<unsigned char>(bytes.at(i));
        }
        return value;
    }

    std::string token(std::size_t most, std::string_view what) {
        const auto size = number();
        if (size > most) {
            bad("a {} of {} bytes (at most {})", what, size, most);
        }
        std::string text(size, '\0');
        exact(text.data(), text.size());
        padding(size);
        return text;
    }

    void expect(std::string_view word) {
        const auto found = token(kTokenMost, "keyword");
        if (found != word) {
            bad("'{}' where '{}' should be", printable(found), word);
        }
    }

    /// Hands `size` bytes on in pieces.
    void stream(std::uint64_t size, NarVisitor& visitor) {
        if (size > most_ - total_) {
            too_large();
        }
        for (auto left = size; left > 0;) {
            fill();
            const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(left, end_ - begin_));
            visitor.file_data({buffer_.data() + begin_, n});
            take(n);
            left -= n;
        }
        padding(size);
    }

    [[nodiscard]] bool at_end() { return begin_ == end_ && refill() == 0; }

  private:
    [[noreturn]] void too_large() const { bad("larger than {} bytes", most_); }

    std::size_t refill() {
        begin_ = 0;
        end_ = source_(buffer_.data(), buffer_.size());
        return end_;
    }

    void fill() {
        if (at_end()) {
            bad("it ends too early");
        }
    }

    void take(std::size_t n) {
        begin_ += n;
        total_ += n;
    }

    void exact(char* out, std::size_t size) {
        if (size > most_ - total_) {
            too_large();
        }
        while (size > 0) {
            fill();
            const auto n = std::min(size, end_ - begin_);
            std::memcpy(out, buffer_.data() + begin_, n);
            take(n);
            out += n;
            size -= n;
        }
    }

    void padding(std::uint64_t size) {
        std::array<char, 8> bytes{};
        exact(bytes.data(), static_cast<std::size_t>(padding_of(size)));
        if (std::any_of(bytes.begin(), bytes.end(), [](char c) { return c != 0; })) {
            bad("padding that is not zero");
        }
    }

    const Source& source_;
    std::uint64_t most_;
    std::uint64_t total_ = 0; ///< never more than most_
    std::vector<char> buffer_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
};

class Parser {
  public:
    Parser(const Source& source, NarVisitor& visitor, const NarLimits& limits)
        : in_(source, limits.bytes), visitor_(visitor), limits_(limits) {}

    void run() {
        in_.expect(kMagic);
        node(0);
        if (!in_.at_end()) {
            bad("bytes after its end");
        }
    }

  private:
    // Recursion is bounded by limits_.depth.
    void node(std::size_t depth) {
        if (++nodes_ > limits_.nodes) {
            bad("more than {} files", limits_.nodes);
        }
        in_.expect("(");
        in_.expect("type");
        const auto type = in_.token(kTokenMost, "keyword");
        if (type == "regular") {
            regular();
        } else if (type == "symlink") {
            link();
        } else if (type == "directory") {
            directory(depth + 1);
        } else {
            bad("a file of type '{}'", printable(type));
        }
    }

    void regular() {
        auto word = in_.token(kTokenMost, "keyword");
        const bool executable = word == "executable";
        if (executable) {
            in_.expect("");
            word = in_.token(kTokenMost, "keyword");
        }
        if (word != "contents") {
            bad("'{}' where 'contents' should be", printable(word));
        }
        const auto size = in_.number();
        visitor_.file_begin(executable, size);
        in_.stream(size, visitor_);
        visitor_.file_end();
        in_.expect(")");
    }

    void link() {
        in_.expect("target");
        const auto target = in_.token(kTargetMost, "link target");
        if (target.empty() || target.find('\0') != std::string::npos) {
            bad("a link target that is empty or holds a NUL");
        }
        visitor_.symlink(target);
        in_.expect(")");
    }

    void directory(std::size_t depth) {
        if (depth > limits_.depth) {
            bad("directories nested deeper than {}", limits_.depth);
        }
        visitor_.directory_begin();
        std::string last;
        for (;;) {
            const auto word = in_.token(kTokenMost, "keyword");
            if (word == ")") {
                break;
            }
            if (word != "entry") {
                bad("'{}' where 'entry' should be", printable(word));
            }
            in_.expect("(");
            in_.expect("name");
            auto name = in_.token(kNameMost, "file name");
            if (!nar_name_valid(name)) {
                bad("a file named '{}'", printable(name));
            }
            if (name <= last) {
                bad("'{}' after '{}': names not sorted, or twice", printable(name),
                    printable(last));
            }
            in_.expect("node");
            visitor_.entry(name);
            node(depth);
            in_.expect(")");
            last = std::move(name);
        }
        visitor_.directory_end();
    }

    Reader in_;
    NarVisitor& visitor_;
    NarLimits limits_;
    std::uint64_t nodes_ = 0;
};

} // namespace

bool nar_name_valid(std::string_view name) noexcept {
    return !name.empty() && name.size() <= kNameMost && name != "." && name != ".." &&
           name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

void nar_parse(const Source& source, NarVisitor& visitor, const NarLimits& limits) {
    Parser(source, visitor, limits).run();
}

Source string_source(std::string_view data) {
    return [data](char* buffer, std::size_t size) mutable {
        const auto n = std::min(size, data.size());
        std::copy_n(data.data(), n, buffer);
        data.remove_prefix(n);
        return n;
    };
}

NarWriter::NarWriter(Sink sink) : sink_(std::move(sink)) {
    text(kMagic);
}

void NarWriter::number(std::uint64_t value) {
    std::array<char, 8> bytes{};
    for (auto& byte : bytes) {
        byte = static_cast<char>(value & 0xffU);
        value >>= 8U;
    }
    sink_({bytes.data(), bytes.size()});
}

void NarWriter::text(std::string_view value) {
    static constexpr std::array<char, 8> kZeros{};
    number(value.size());
    sink_(value);
    sink_({kZeros.data(), static_cast<std::size_t>(padding_of(value.size()))});
}

void NarWriter::node_end() {
    text(")");
    if (last_.empty()) {
        whole_ = true;
    } else {
        text(")");
    }
}

void NarWriter::directory_begin() {
    text("(");
    text("type");
    text("directory");
    last_.emplace_back();
}

void NarWriter::entry(std::string_view name) {
    if (last_.empty() || !nar_name_valid(name) || name <= last_.back()) {
        fail(ExitCode::kBug, "NAR entry '{}' out of order", printable(name));
    }
    last_.back() = name;
    text("entry");
    text("(");
    text("name");
    text(name);
    text("node");
}

void NarWriter::directory_end() {
    last_.pop_back();
    node_end();
}

void NarWriter::file_begin(bool executable, std::uint64_t size) {
    text("(");
    text("type");
    text("regular");
    if (executable) {
        text("executable");
        text("");
    }
    text("contents");
    number(size);
    expected_ = size;
    padding_ = padding_of(size);
}

void NarWriter::file_data(std::string_view data) {
    if (data.size() > expected_) {
        fail(ExitCode::kBug, "more bytes than the NAR file has");
    }
    expected_ -= data.size();
    sink_(data);
}

void NarWriter::file_end() {
    static constexpr std::array<char, 8> kZeros{};
    if (expected_ != 0) {
        fail(ExitCode::kBug, "fewer bytes than the NAR file has");
    }
    sink_({kZeros.data(), static_cast<std::size_t>(padding_)});
    node_end();
}

void NarWriter::symlink(std::string_view target) {
    text("(");
    text("type");
    text("symlink");
    text("target");
    text(target);
    node_end();
}

void NarWriter::finish() {
    if (!whole_) {
        fail(ExitCode::kBug, "the NAR is not whole");
    }
}

} // namespace sky
