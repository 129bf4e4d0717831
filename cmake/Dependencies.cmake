# Debian 12's packages (the list that installs them is tools/packages.txt). All third-party headers are SYSTEM.
find_package(Threads REQUIRED)
find_package(absl REQUIRED)
find_package(GTest REQUIRED)
find_package(Protobuf REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(SECCOMP REQUIRED IMPORTED_TARGET libseccomp)
pkg_check_modules(FUSE3 REQUIRED IMPORTED_TARGET fuse3)

set(RAMPART_ABSL absl::synchronization absl::flat_hash_map absl::flat_hash_set absl::btree absl::inlined_vector
    absl::strings absl::status absl::statusor absl::function_ref absl::span)

# Debian's Abseil is found as shared libraries; what ships is static, so there their archives, which lie beside them, are linked.
if(RAMPART_STATIC)
  get_directory_property(rampart_imported IMPORTED_TARGETS)
  foreach(target IN LISTS rampart_imported)
    get_target_property(type ${target} TYPE)
    if(NOT target MATCHES "^absl::" OR NOT type STREQUAL "SHARED_LIBRARY")
      continue()
    endif()
    get_target_property(configs ${target} IMPORTED_CONFIGURATIONS)
    foreach(config IN LISTS configs)
      get_target_property(location ${target} IMPORTED_LOCATION_${config})
      string(REGEX REPLACE "\\.so[.0-9]*$" ".a" archive "${location}")
      if(EXISTS "${archive}")
        set_target_properties(${target} PROPERTIES IMPORTED_LOCATION_${config} "${archive}")
      endif()
    endforeach()
  endforeach()
endif()

# Debian's Abseil was built without ThreadSanitizer: its locks are announced by wrappers.
if(RAMPART_SANITIZE MATCHES "thread")
  add_library(tsan_mutex STATIC ${CMAKE_SOURCE_DIR}/cmake/tsan_mutex.cc)
  target_compile_options(tsan_mutex PRIVATE -fsanitize=thread -O1)
  target_link_libraries(tsan_mutex PRIVATE absl::synchronization)
  target_link_libraries(rampart_options INTERFACE $<${checked}:$<LINK_LIBRARY:WHOLE_ARCHIVE,tsan_mutex>>)
  foreach(function IN ITEMS
      5Mutex4LockEv 5Mutex6UnlockEv 5Mutex10ReaderLockEv 5Mutex12ReaderUnlockEv 5Mutex7TryLockEv 5Mutex13ReaderTryLockEv 5MutexD1Ev
      5Mutex5AwaitERKNS0_9ConditionE 5Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE
      5Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE 5Mutex8LockWhenERKNS0_9ConditionE
      7CondVar4WaitEPNS0_5MutexE 7CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE 7CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE)
    target_link_options(rampart_options INTERFACE $<${checked}:-Wl,--wrap=_ZN4absl7debian3${function}>)
  endforeach()
endif()
