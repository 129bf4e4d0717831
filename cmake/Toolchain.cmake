# Language level, warnings, hardening and sanitizers: the same for every target.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

option(RAMPART_STATIC "Link what ships as static PIE" ON)
set(RAMPART_SANITIZE "" CACHE STRING "Sanitizers, as -fsanitize= takes them: address,undefined or thread")
option(RAMPART_FUZZ "Build the libFuzzer targets (clang only); otherwise they replay their corpora" OFF)

find_program(RAMPART_CCACHE ccache)
if(RAMPART_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # What it must overlook to keep the results of compilations with precompiled headers.
  set(CMAKE_CXX_COMPILER_LAUNCHER /usr/bin/env CCACHE_SLOPPINESS=pch_defines,time_macros ${RAMPART_CCACHE})
endif()

add_library(rampart_options INTERFACE)
target_compile_options(rampart_options INTERFACE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fpch-preprocess>)  # for ccache
target_compile_options(rampart_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wnon-virtual-dtor -Wimplicit-fallthrough -Werror
  -fno-strict-aliasing -fstack-protector-strong -fcf-protection -ffile-prefix-map=${CMAKE_SOURCE_DIR}/=
  $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety -Wthread-safety-beta -Wno-sign-conversion -Wno-deprecated-declarations -Wno-gnu-statement-expression -Wno-gnu-zero-variadic-macro-arguments>)
target_compile_definitions(rampart_options INTERFACE _GLIBCXX_ASSERTIONS _FILE_OFFSET_BITS=64)
target_include_directories(rampart_options INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR}/generated)
target_link_options(rampart_options INTERFACE -Wl,-z,relro,-z,now)
if(RAMPART_SANITIZE)
  # But for targets with the property RAMPART_PLAIN: programs that run inside, static, without a sanitizer's runtime.
  set(checked $<NOT:$<BOOL:$<TARGET_PROPERTY:RAMPART_PLAIN>>>)
  target_compile_options(rampart_options INTERFACE $<${checked}:-fsanitize=${RAMPART_SANITIZE}> -fno-omit-frame-pointer)
  target_link_options(rampart_options INTERFACE $<${checked}:-fsanitize=${RAMPART_SANITIZE}>)
  if(RAMPART_SANITIZE MATCHES "undefined")
    # vptr: it probes memory through pipes at each check. nonnull-attribute: memcpy of nothing from nowhere, which C2y allows.
    target_compile_options(rampart_options INTERFACE $<${checked}:-fno-sanitize-recover=undefined> $<${checked}:-fno-sanitize=vptr,nonnull-attribute>)
  endif()
  if(RAMPART_FUZZ)
    target_compile_options(rampart_options INTERFACE $<${checked}:-fsanitize=fuzzer-no-link>)
  endif()
  set(RAMPART_STATIC OFF CACHE BOOL "" FORCE)   # a sanitizer's runtime needs the dynamic loader
else()
  target_compile_definitions(rampart_options INTERFACE $<$<NOT:$<CONFIG:Debug>>:_FORTIFY_SOURCE=2>)
endif()
