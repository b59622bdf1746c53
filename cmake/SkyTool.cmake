# sky_tool(sky-x SOURCES a.cpp b.cpp LIBS lib...): object library sky-x-core from SOURCES and the executable from main.cpp.
# Tests link the core.
function(sky_tool name)
    cmake_parse_arguments(arg "" "" "SOURCES;LIBS" ${ARGN})
    add_library(${name}-core OBJECT ${arg_SOURCES})
    target_include_directories(${name}-core PUBLIC ${CMAKE_SOURCE_DIR}/tools)
    target_link_libraries(${name}-core PUBLIC sky ${arg_LIBS})
    add_executable(${name} main.cpp)
    target_link_libraries(${name} PRIVATE ${name}-core)
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
    install(TARGETS ${name} RUNTIME)
    set_property(GLOBAL APPEND PROPERTY SKY_CORES ${name}-core)
endfunction()
