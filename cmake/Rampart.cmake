# rampart_library(NAME [DEPS lib...] [LINK third-party...])
#   One library per directory: every *.cc beside the CMakeLists.txt is in it, every *_test.cc is in NAME_test (GoogleTest, registered
#   with ctest; so a test that is not registered cannot exist). DEPS are the only libraries of ours whose headers it may include;
#   tools/check-layers holds every #include against them.
set_property(GLOBAL PROPERTY RAMPART_LAYERS "")

# Clang's builds (sanitizers, thread-safety analysis) are for checking only: common headers are parsed once for all of them. g++'s builds do
# without, so that a missing #include is found.
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  file(WRITE ${CMAKE_BINARY_DIR}/common_headers.cc "")
  foreach(kind IN ITEMS library program)
    add_library(common_headers_${kind} STATIC ${CMAKE_BINARY_DIR}/common_headers.cc)
    target_link_libraries(common_headers_${kind} PUBLIC rampart_options ${RAMPART_ABSL} GTest::gtest GTest::gmock)
    target_precompile_headers(common_headers_${kind} PRIVATE <algorithm> <array> <atomic> <cstdint> <cstring> <functional> <map> <memory> <optional>
      <span> <string> <string_view> <utility> <vector> <absl/container/flat_hash_map.h> <absl/container/flat_hash_set.h>
      <absl/strings/str_cat.h> <absl/synchronization/mutex.h>)
  endforeach()
  target_precompile_headers(common_headers_program PRIVATE <gmock/gmock.h> <gtest/gtest.h>)
  set_target_properties(common_headers_program PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_compile_options(common_headers_program PRIVATE -fPIE)
endif()

# KIND: library or program (the code of which is not position independent in the same way).
function(rampart_common_headers name kind)
  if(TARGET common_headers_${kind})
    target_precompile_headers(${name} REUSE_FROM common_headers_${kind})
  endif()
endfunction()

function(rampart_library name)
  cmake_parse_arguments(ARG "" "" "DEPS;LINK;TEST_DEPS;TEST_LINK;EXCLUDE;DEFINES" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc ${CMAKE_CURRENT_SOURCE_DIR}/*.S)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$|_main\\.cc$|_fuzz\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  foreach(excluded IN LISTS ARG_EXCLUDE)
    list(REMOVE_ITEM sources ${CMAKE_CURRENT_SOURCE_DIR}/${excluded})
  endforeach()
  if(sources)
    add_library(${name} STATIC ${sources})
    rampart_common_headers(${name} library)
    target_link_libraries(${name} PUBLIC rampart_options ${ARG_DEPS} ${RAMPART_ABSL} ${ARG_LINK} Threads::Threads)
    target_compile_definitions(${name} PRIVATE ${ARG_DEFINES})
  else()
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE rampart_options ${ARG_DEPS} ${RAMPART_ABSL} ${ARG_LINK} Threads::Threads)
  endif()
  file(RELATIVE_PATH dir ${CMAKE_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
  set_property(GLOBAL APPEND PROPERTY RAMPART_LAYERS "${name}|${dir}|${ARG_DEPS}|${ARG_TEST_DEPS}")
  if(tests)
    rampart_test(${name}_test SOURCES ${tests} DEPS ${name} ${ARG_TEST_DEPS} LINK ${ARG_TEST_LINK} LABELS unit)
  endif()
endfunction()

# Compiling our tests' macros well costs half of their time and buys nothing: g++ leaves them as they are. (Clang's builds share headers that were
# compiled as everything else is.)
function(rampart_unoptimized name)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(${name} PRIVATE -O0 -U_FORTIFY_SOURCE)
  endif()
endfunction()

# rampart_test(NAME SOURCES file... [DEPS lib...] [LINK third-party...] [LABELS label...]): a GoogleTest program.
function(rampart_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;DEPS;LINK;LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE rampart_options ${ARG_DEPS} test_main GTest::gtest GTest::gmock ${ARG_LINK} Threads::Threads)
  rampart_common_headers(${name} program)
  rampart_unoptimized(${name})
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT})
  if(RAMPART_SANITIZE MATCHES "thread")
    set_tests_properties(${name} PROPERTIES ENVIRONMENT TSAN_OPTIONS=detect_deadlocks=0)  # see cmake/sanitizer_options.cc
  endif()
endfunction()

# rampart_program(NAME SOURCES file... DEPS lib...): a program that ships, static PIE unless RAMPART_STATIC is off.
function(rampart_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE rampart_options ${ARG_DEPS} ${ARG_LINK} Threads::Threads)
  if(RAMPART_STATIC)
    target_link_options(${name} PRIVATE -static-pie)
  endif()
  if(RAMPART_SANITIZE)
    target_sources(${name} PRIVATE ${CMAKE_SOURCE_DIR}/cmake/sanitizer_options.cc)
  endif()
endfunction()

# rampart_fuzz(NAME SOURCES file... DEPS lib... CORPUS dir): LLVMFuzzerTestOneInput. With RAMPART_FUZZ a libFuzzer program;
# otherwise a program that replays the corpus and tries three seconds of mutations, registered with ctest.
function(rampart_fuzz name)
  cmake_parse_arguments(ARG "" "CORPUS" "SOURCES;DEPS;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE rampart_options ${ARG_DEPS} ${ARG_LINK} Threads::Threads)
  if(RAMPART_FUZZ)
    target_compile_options(${name} PRIVATE -fsanitize=fuzzer)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  else()
    target_link_libraries(${name} PRIVATE fuzz_replay)
    add_test(NAME ${name} COMMAND ${name} --random 3 1 ${ARG_CORPUS})
    set_tests_properties(${name} PROPERTIES LABELS "fuzz" TIMEOUT 120)
  endif()
endfunction()

function(rampart_write_layers file)
  get_property(rows GLOBAL PROPERTY RAMPART_LAYERS)
  string(REPLACE ";" "\n" text "${rows}")
  file(GENERATE OUTPUT ${file} CONTENT "${text}\n")
endfunction()
