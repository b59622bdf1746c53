// SPDX-License-Identifier: MIT
// Linked into every tool of a sanitizer build. Most of them run where nobody reads their stderr
// (behind sudo, in a sandbox, in the background), so reports go to files of a directory that
// test/run makes and looks into afterwards. By hand: ASAN_OPTIONS=log_path=stderr.

extern "C" const char*
__asan_default_options(); // NOLINT(bugprone-reserved-identifier): the sanitizer's name

extern "C" const char* __asan_default_options() { // NOLINT(bugprone-reserved-identifier)
    return "detect_leaks=1:exitcode=99:log_path=/var/tmp/skyflake-asan/report:log_exe_name=1";
}
