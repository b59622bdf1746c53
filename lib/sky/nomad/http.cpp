// SPDX-License-Identifier: MIT
#include <sky/nomad/http.hpp>

#include <sky/nomad/curl.hpp>

#include <algorithm>
#include <array>
#include <cctype>
#include <mutex>
#include <utility>

namespace sky::http {
namespace {

struct Transfer {
    Response response;
    const Client::Sink* sink = nullptr;
    std::size_t cap = 0;
    CURL* curl = nullptr;
    bool too_long = false;
    bool enough = false;
};

std::size_t take_body(char* data, std::size_t size, std::size_t count, void* user) {
    auto& transfer = *static_cast<Transfer*>(user);
    const std::string_view piece(data, size * count);
    long status = 0;
    libcurl().easy_getinfo(transfer.curl, CURLINFO_RESPONSE_CODE, &status);
    if (*transfer.sink && status == 200) {
        transfer.enough = !(*transfer.sink)(piece);
        return transfer.enough ? 0 : piece.size();
    }
    transfer.too_long = transfer.response.body.size() + piece.size() > transfer.cap;
    if (transfer.too_long) {
        return 0;
    }
    transfer.response.body.append(piece);
    return piece.size();
}

std::size_t take_header(char* data, std::size_t size, std::size_t count, void* user) {
    auto& headers = static_cast<Transfer*>(user)->response.headers;
    const std::string_view line(data, size * count);
    const auto colon = line.find(':');
    if (colon != std::string_view::npos) {
        std::string name(line.substr(0, colon));
        std::transform(name.begin(), name.end(), name.begin(),
                       [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
        auto value = line.substr(colon + 1);
        while (!value.empty() && std::isspace(static_cast<unsigned char>(value.front())) != 0) {
            value.remove_prefix(1);
        }
        while (!value.empty() && std::isspace(static_cast<unsigned char>(value.back())) != 0) {
            value.remove_suffix(1);
        }
        headers[name] = value;
    }
    return line.size();
}

/// True when the request can not have reached the server.
bool before_sending(CURLcode code) {
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
        return true;
    default:
        return false;
    }
}

struct Slist {
    curl_slist* list = nullptr;
    Slist() = default;
    Slist(const Slist&) = delete;
    Slist& operator=(const Slist&) = delete;
    ~Slist() { libcurl().slist_free_all(list); }
    Slist(Slist&& other) noexcept : list(std::exchange(other.list, nullptr)) {}
    Slist& operator=(Slist&& other) noexcept {
        std::swap(list, other.list);
        return *this;
    }
    void add(const std::string& text) { list = libcurl().slist_append(list, text.c_str()); }
};

template <typename T>
void set(CURL* curl, CURLoption option, T value) {
    if (libcurl().easy_setopt(curl, option, value) != CURLE_OK) {
        fail(ExitCode::kBug, "libcurl does not know option {}", static_cast<int>(option));
    }
}

void set(CURL* curl, const Tls& tls) {
    if (tls.ca) {
        set(curl, CURLOPT_CAINFO, tls.ca->c_str());
    }
    if (tls.cert && tls.key) {
        set(curl, CURLOPT_SSLCERT, tls.cert->c_str());
        set(curl, CURLOPT_SSLKEY, tls.key->c_str());
    }
}

/// The URL's host and port, "127.0.0.1:4646".
std::string authority_of(const std::string& url) {
    const auto begin = url.find("://") + 3;
    return url.substr(begin, url.find('/', begin) - begin);
}

/// Where to, by which name and with which keys. The list has to live as long as the handle works.
Slist aim(CURL* curl, const Tls& tls, std::string url) {
    Slist to;
    if (tls.name) {
        const auto authority = authority_of(url);
        url.replace(url.find(authority), authority.size(), *tls.name);
        to.add("::" + authority);
        set(curl, CURLOPT_CONNECT_TO, to.list);
    }
    set(curl, CURLOPT_URL, url.c_str());
    set(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    set(curl, CURLOPT_NOSIGNAL, 1L);
    set(curl, CURLOPT_NOPROXY, "*");
    set(curl, CURLOPT_CONNECTTIMEOUT_MS, 3000L);
    set(curl, tls);
    return to;
}

} // namespace

struct Stream::Handle {
    CURL* curl = nullptr;
    Slist to = {};
    curl_socket_t socket = CURL_SOCKET_BAD;

    Handle() = default;
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
    ~Handle() { libcurl().easy_cleanup(curl); }
};

Stream::Stream(std::unique_ptr<Handle> handle) : handle_(std::move(handle)) {}
Stream::~Stream() = default;

int Stream::fd() const noexcept {
    return handle_->socket;
}

std::optional<std::size_t> Stream::send(std::string_view data) {
    std::size_t sent = 0;
    const auto code = libcurl().easy_send(handle_->curl, data.data(), data.size(), &sent);
    if (code == CURLE_AGAIN) {
        return std::nullopt;
    }
    if (code != CURLE_OK) {
        throw Failure(libcurl().easy_strerror(code), true);
    }
    return sent;
}

std::optional<std::size_t> Stream::receive(std::span<char> into) {
    std::size_t got = 0;
    const auto code = libcurl().easy_recv(handle_->curl, into.data(), into.size(), &got);
    if (code == CURLE_AGAIN) {
        return std::nullopt;
    }
    if (code != CURLE_OK) {
        throw Failure(libcurl().easy_strerror(code), true);
    }
    return got;
}

struct Client::Handles {
    std::mutex mutex;
    std::vector<CURL*> idle;

    CURL* take() {
        const std::lock_guard guard(mutex);
        if (idle.empty()) {
            CURL* made = libcurl().easy_init();
            if (made == nullptr) {
                fail(ExitCode::kSystem, "libcurl gives no handle");
            }
            return made;
        }
        CURL* out = idle.back();
        idle.pop_back();
        return out;
    }
    void give_back(CURL* curl) {
        const std::lock_guard guard(mutex);
        idle.push_back(curl);
    }
};

Client::Client(Tls tls) : tls_(std::move(tls)), handles_(std::make_unique<Handles>()) {
    static_cast<void>(libcurl()); // or it throws
}

Client::~Client() {
    for (CURL* curl : handles_->idle) {
        libcurl().easy_cleanup(curl);
    }
}

Response Client::perform(const Request& request, const Sink& sink) {
    CURL* curl = handles_->take();
    struct Return {
        Handles& handles;
        CURL* curl;
        ~Return() { handles.give_back(curl); }
    } const back{*handles_, curl};
    libcurl().easy_reset(curl); // options, not connections
    Transfer transfer{.response = {}, .sink = &sink, .cap = request.cap, .curl = curl};
    std::array<char, CURL_ERROR_SIZE> why{};
    Slist headers;
    for (const auto& header : request.headers) {
        headers.add(header);
    }
    headers.add("Expect:");
    const Slist to = aim(curl, tls_, request.url);
    set(curl, CURLOPT_ERRORBUFFER, why.data());
    set(curl, CURLOPT_CUSTOMREQUEST, request.method.c_str());
    set(curl, CURLOPT_HTTPHEADER, headers.list);
    set(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(request.limit.count()));
    if (request.quiet.count() > 0) {
        set(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
        set(curl, CURLOPT_LOW_SPEED_TIME, static_cast<long>(request.quiet.count()));
    }
    set(curl, CURLOPT_WRITEFUNCTION, take_body);
    set(curl, CURLOPT_WRITEDATA, &transfer);
    set(curl, CURLOPT_HEADERFUNCTION, take_header);
    set(curl, CURLOPT_HEADERDATA, &transfer);
    if (request.body) {
        set(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body->size()));
        set(curl, CURLOPT_POSTFIELDS, request.body->c_str());
    }
    const CURLcode code = libcurl().easy_perform(curl);
    libcurl().easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &transfer.response.status);
    if (transfer.too_long) {
        throw Failure(fmt::format("the answer is longer than {} bytes", request.cap), true);
    }
    if (code != CURLE_OK && !transfer.enough) {
        throw Failure(why[0] != '\0' ? why.data() : libcurl().easy_strerror(code),
                      !before_sending(code));
    }
    return std::move(transfer.response);
}

std::unique_ptr<Stream> Client::open(const std::string& url) {
    auto handle = std::make_unique<Stream::Handle>();
    handle->curl = libcurl().easy_init();
    if (handle->curl == nullptr) {
        fail(ExitCode::kSystem, "libcurl gives no handle");
    }
    std::array<char, CURL_ERROR_SIZE> why{};
    handle->to = aim(handle->curl, tls_, url);
    set(handle->curl, CURLOPT_ERRORBUFFER, why.data());
    set(handle->curl, CURLOPT_CONNECT_ONLY, 1L);
    set(handle->curl, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    const CURLcode code = libcurl().easy_perform(handle->curl);
    if (code != CURLE_OK) {
        throw Failure(why[0] != '\0' ? why.data() : libcurl().easy_strerror(code), false);
    }
    set(handle->curl, CURLOPT_ERRORBUFFER, static_cast<char*>(nullptr));
    libcurl().easy_getinfo(handle->curl, CURLINFO_ACTIVESOCKET, &handle->socket);
    return std::make_unique<Stream>(std::move(handle));
}

std::string escaped(std::string_view text) {
    constexpr std::string_view kPlain = "-._~";
    std::string out;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        const bool plain =
            (byte < 0x80 && std::isalnum(byte) != 0) || kPlain.find(c) != std::string_view::npos;
        out += plain ? std::string(1, c) : fmt::format("%{:02X}", byte);
    }
    return out;
}

} // namespace sky::http
