// The KVM platform: application code in ring 3 of virtual processors whose page tables are ours. Needs /dev/kvm and nested paging. How it works
// and what it costs: README.md beside this file.
#pragma once

#include <cstdint>

#include "platform/platform.h"

namespace rampart::platform::kvm {

// Application mappings lie in [min, max), as on the ptrace platform.
inline constexpr uint64_t kMinUserAddress = 0x10000;
inline constexpr uint64_t kMaxUserAddress = 0x7fffffff0000;

// For the registry. create() opens /dev/kvm: before the process gives up its view of it. One live platform a process.
extern const PlatformInfo kKvmPlatform;

}  // namespace rampart::platform::kvm
