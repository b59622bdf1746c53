# Warnings and sanitizers, on one interface target that every target of ours links.
option(SKY_SANITIZE "AddressSanitizer and UndefinedBehaviorSanitizer" OFF)
option(SKY_FUZZ "build the fuzz targets with libFuzzer (clang)" OFF)
option(SKY_PCH "precompile the big headers: a third less to wait for when everything is built once" OFF)
option(SKY_TIDY "run clang-tidy while compiling" OFF)

add_library(sky_options INTERFACE)
# From fmt 11 on <fmt/core.h>, which the headers that everything includes have, is without fmt::format unless it is asked for.
target_compile_definitions(sky_options INTERFACE $<$<VERSION_GREATER_EQUAL:${fmt_VERSION},11>:FMT_DEPRECATED_HEAVY_CORE>)
target_compile_options(sky_options INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wnon-virtual-dtor -Wold-style-cast -Wformat=2)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    target_compile_options(sky_options INTERFACE -Wno-restrict) # GCC PR105329
endif()
if(SKY_SANITIZE)
    target_compile_options(sky_options INTERFACE
        -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
    target_link_options(sky_options INTERFACE -fsanitize=address,undefined)
elseif(CMAKE_BUILD_TYPE STREQUAL "Release" OR CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo")
    target_compile_options(sky_options INTERFACE
        -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-protector-strong)
    target_compile_definitions(sky_options INTERFACE _GLIBCXX_ASSERTIONS)
    target_link_options(sky_options INTERFACE -Wl,-z,relro,-z,now)
endif()
if(SKY_FUZZ)
    target_compile_options(sky_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
find_program(SKY_CCACHE ccache)
if(SKY_CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${SKY_CCACHE})
endif()
if(SKY_TIDY)
    find_program(SKY_CLANG_TIDY clang-tidy REQUIRED)
    set(CMAKE_CXX_CLANG_TIDY ${SKY_CLANG_TIDY} --quiet)
endif()
