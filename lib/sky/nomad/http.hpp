// SPDX-License-Identifier: MIT
#pragma once

#include <sky/error.hpp>

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sky::http {

struct Tls {
    std::optional<std::filesystem::path> ca; ///< PEM; nothing: the system's
    std::optional<std::filesystem::path> cert;
    std::optional<std::filesystem::path> key;
    std::optional<std::string> name; ///< to find in the certificate instead of the URL's host
};

struct Request {
    std::string method = "GET";
    std::string url;
    std::vector<std::string> headers; ///< "Name: value"
    std::optional<std::string> body;
    std::chrono::milliseconds limit{10'000}; ///< for the whole answer; zero: none
    std::chrono::seconds quiet{0}; ///< gives up when nothing comes for so long; zero: never
    std::size_t cap = std::size_t{64} << 20; ///< of the answer's body, bytes
};

struct Response {
    long status = 0;
    std::map<std::string, std::string> headers; ///< names in lower case
    std::string body;
};

/// No answer. `sent`: the request may have reached the server.
class Failure : public Error {
  public:
    Failure(const std::string& text, bool sent)
        : Error(ExitCode::kUnavailable, text), sent_(sent) {}
    [[nodiscard]] bool sent() const noexcept { return sent_; }

  private:
    bool sent_;
};

/// A connection on which nothing was said yet, encrypted where its URL says so.
class Stream {
  public:
    struct Handle;
    explicit Stream(std::unique_ptr<Handle> handle);
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    ~Stream();

    /// To poll; it stays ours. Call receive() until it has nothing before polling for more.
    [[nodiscard]] int fd() const noexcept;
    /// How many of the bytes were taken; nothing: wait until the socket can be written. Failure.
    [[nodiscard]] std::optional<std::size_t> send(std::string_view data);
    /// How many came, 0 at the end; nothing: wait until the socket can be read. Failure.
    [[nodiscard]] std::optional<std::size_t> receive(std::span<char> into);

  private:
    std::unique_ptr<Handle> handle_;
};

/// Requests over HTTP or HTTPS, connections kept between them. Follows no redirects, asks no proxy.
/// Any number of calls may be under way at once.
class Client {
  public:
    explicit Client(Tls tls);
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;
    ~Client();

    /// Takes a piece of the body; false: enough, hang up.
    using Sink = std::function<bool(std::string_view)>;

    /// Throws Failure. Any status is an answer. With `sink` the body of a 200 goes there piece by
    /// piece and not into the response.
    [[nodiscard]] Response perform(const Request& request, const Sink& sink = {});

    /// A connection of its own to a URL's host. Throws Failure.
    [[nodiscard]] std::unique_ptr<Stream> open(const std::string& url);

  private:
    struct Handles;
    Tls tls_;
    std::unique_ptr<Handles> handles_;
};

/// Percent-encodes all but letters, digits and -._~
[[nodiscard]] std::string escaped(std::string_view text);

} // namespace sky::http
