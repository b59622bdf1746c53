// SPDX-License-Identifier: MIT
#pragma once

#include <compare>
#include <string>
#include <string_view>

namespace sky {

/// A name that was checked when it was made: the only way that text from outside reaches an argv, a
/// path or a record. parse() throws Error(kData) that names the kind and the rule, and shows the
/// text only when it is printable and short.
template <typename Kind>
class Name {
  public:
    [[nodiscard]] static Name parse(std::string_view text);
    [[nodiscard]] static bool valid(std::string_view text) noexcept;
    [[nodiscard]] const std::string& str() const noexcept { return text_; }
    friend auto operator<=>(const Name&, const Name&) = default;

  private:
    explicit Name(std::string text) : text_(std::move(text)) {}
    std::string text_;
};

namespace kind {
struct Tenant;
struct Repo;
struct Machine;
struct Volume;
struct Network;
struct Revision;
struct BuildId;
} // namespace kind

using Tenant = Name<kind::Tenant>;     ///< [a-z][a-z0-9-]{0,30}
using Repo = Name<kind::Repo>;         ///< [a-z][a-z0-9-]{0,30}
using Machine = Name<kind::Machine>;   ///< [a-z][a-z0-9-]{0,39}
using Volume = Name<kind::Volume>;     ///< [a-z][a-z0-9-]{0,39}
using Network = Name<kind::Network>;   ///< [a-z][a-z0-9-]{0,39}
using Revision = Name<kind::Revision>; ///< 40 of [0-9a-f], not all zero
using BuildId = Name<kind::BuildId>;   ///< 16 of [0-9a-v]

/// alice/infra/www: the identity that every other name belongs to.
struct MachinePath {
    Tenant tenant;
    Repo repo;
    Machine machine;

    /// "alice/infra/www", for people.
    [[nodiscard]] std::string text() const;
    /// "alice.infra.www", for jobs, directories, records: injective, no part can hold a dot.
    [[nodiscard]] std::string joined() const;
    /// The reverse of joined(). Throws Error(kData).
    [[nodiscard]] static MachinePath parse_joined(std::string_view text);
    friend auto operator<=>(const MachinePath&, const MachinePath&) = default;
};

/// A new build id: sorts by time, unguessable enough not to collide (one per push).
[[nodiscard]] BuildId new_build_id();

/// `text` with everything outside printable ASCII replaced by '?', cut at `most` characters: for
/// error messages.
[[nodiscard]] std::string printable(std::string_view text, std::size_t most = 60);

} // namespace sky
