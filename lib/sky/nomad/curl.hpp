// SPDX-License-Identifier: MIT
#pragma once

#include <curl/curl.h>

namespace sky::http {

/// libcurl, loaded when it is first asked for: with the thirty libraries that it brings, every tool
/// that links it takes 5 ms longer to start and a megabyte more, on hosts without Nomad for
/// nothing.
struct Curl {
    decltype(&::curl_global_init) global_init;
    decltype(&::curl_easy_init) easy_init;
    decltype(&::curl_easy_cleanup) easy_cleanup;
    decltype(&::curl_easy_reset) easy_reset;
    decltype(&::curl_easy_setopt) easy_setopt;
    decltype(&::curl_easy_getinfo) easy_getinfo;
    decltype(&::curl_easy_perform) easy_perform;
    decltype(&::curl_easy_send) easy_send;
    decltype(&::curl_easy_recv) easy_recv;
    decltype(&::curl_easy_strerror) easy_strerror;
    decltype(&::curl_slist_append) slist_append;
    decltype(&::curl_slist_free_all) slist_free_all;
};

/// Loaded and initialised, for as long as the process lives. Thread-safe. Throws Error(kSystem).
[[nodiscard]] const Curl& libcurl();

} // namespace sky::http
