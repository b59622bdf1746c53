// SPDX-License-Identifier: MIT
#include <sky/nomad/curl.hpp>

#include <sky/error.hpp>

#include <dlfcn.h>

namespace sky::http {
namespace {

template <typename F>
void find(void* library, const char* name, F*& function) {
    function = reinterpret_cast<F*>(::dlsym(library, name));
    if (function == nullptr) {
        fail(ExitCode::kSystem, "'{}' has no {}", SKY_LIBCURL, name);
    }
}

Curl load() {
    void* library = ::dlopen(SKY_LIBCURL, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
        fail(ExitCode::kSystem, "cannot load libcurl: {}", ::dlerror());
    }
    Curl out{};
    find(library, "curl_global_init", out.global_init);
    find(library, "curl_easy_init", out.easy_init);
    find(library, "curl_easy_cleanup", out.easy_cleanup);
    find(library, "curl_easy_reset", out.easy_reset);
    find(library, "curl_easy_setopt", out.easy_setopt);
    find(library, "curl_easy_getinfo", out.easy_getinfo);
    find(library, "curl_easy_perform", out.easy_perform);
    find(library, "curl_easy_send", out.easy_send);
    find(library, "curl_easy_recv", out.easy_recv);
    find(library, "curl_easy_strerror", out.easy_strerror);
    find(library, "curl_slist_append", out.slist_append);
    find(library, "curl_slist_free_all", out.slist_free_all);
    if (const CURLcode code = out.global_init(CURL_GLOBAL_DEFAULT); code != CURLE_OK) {
        fail(ExitCode::kSystem, "libcurl does not start: {}", out.easy_strerror(code));
    }
    return out;
}

} // namespace

const Curl& libcurl() {
    static const Curl loaded = load();
    return loaded;
}

} // namespace sky::http
