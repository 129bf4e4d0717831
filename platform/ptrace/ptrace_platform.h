// The ptrace platform: application code in stub processes whose system calls, faults and signals stop for us (PTRACE_SYSEMU). Works on
// every x86-64 Linux, without privileges, inside containers. How it works and what it costs: README.md beside this file.
#pragma once

#include <cstdint>

#include "platform/platform.h"

namespace rampart::platform::ptrace {

// Application mappings lie in [min, max). Below: the host's vm.mmap_min_addr. Above: the stub's own pages.
inline constexpr uint64_t kMinUserAddress = 0x10000;
inline constexpr uint64_t kMaxUserAddress = 0x7fffffff0000;

// For the registry. create() must be called on a thread that lives as long as the sandbox (stubs die with it), when the process's
// credentials, namespaces and Landlock domain are final, before its seccomp filter and before other threads exist.
extern const PlatformInfo kPtracePlatform;

}  // namespace rampart::platform::ptrace
