# What SHELL offers behind the tool's name, made at installation.
function(sky_completion name shell file)
    cmake_path(GET file FILENAME made)
    install(CODE "file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/completion/${shell})
execute_process(COMMAND ${CMAKE_SOURCE_DIR}/doc/completion ${shell} $<TARGET_FILE:${name}>
                OUTPUT_FILE ${CMAKE_BINARY_DIR}/completion/${shell}/${made} COMMAND_ERROR_IS_FATAL ANY)")
    cmake_path(GET file PARENT_PATH directory)
    install(FILES ${CMAKE_BINARY_DIR}/completion/${shell}/${made}
            DESTINATION ${CMAKE_INSTALL_DATADIR}/${directory})
endfunction()

# sky_tool(sky-x SOURCES a.cpp b.cpp LIBS lib...): object library sky-x-core from SOURCES and the executable from main.cpp.
# Tests link the core.
function(sky_tool name)
    cmake_parse_arguments(arg "" "" "SOURCES;LIBS" ${ARGN})
    add_library(${name}-core OBJECT ${arg_SOURCES})
    target_include_directories(${name}-core PUBLIC ${CMAKE_SOURCE_DIR}/tools)
    target_link_libraries(${name}-core PUBLIC sky ${arg_LIBS})
    if(SKY_PCH)
        target_precompile_headers(${name}-core REUSE_FROM sky)
    endif()
    add_executable(${name} main.cpp)
    if(SKY_SANITIZE)
        target_sources(${name} PRIVATE ${CMAKE_SOURCE_DIR}/cmake/sanitizer-options.cpp)
    endif()
    target_link_libraries(${name} PRIVATE ${name}-core)
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
    install(TARGETS ${name} RUNTIME)
    if(NOT CMAKE_CROSSCOMPILING) # the tool itself says what its manual page says, and what shells offer
        install(CODE "file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/man)
execute_process(COMMAND ${CMAKE_SOURCE_DIR}/doc/man $<TARGET_FILE:${name}>
                OUTPUT_FILE ${CMAKE_BINARY_DIR}/man/${name}.1 COMMAND_ERROR_IS_FATAL ANY)")
        install(FILES ${CMAKE_BINARY_DIR}/man/${name}.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
        sky_completion(${name} bash bash-completion/completions/${name})
        sky_completion(${name} zsh zsh/site-functions/_${name})
        sky_completion(${name} fish fish/vendor_completions.d/${name}.fish)
    endif()
    set_property(GLOBAL APPEND PROPERTY SKY_CORES ${name}-core)
endfunction()
