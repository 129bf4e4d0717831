// What the KVM platform needs of the host under a seccomp filter. Thread safety: pure functions.
#pragma once

#include <cstdint>
#include <vector>

#include "platform/platform.h"

namespace rampart::platform::kvm {

// Descriptors of virtual processors get numbers in a block of this size (a power of two, aligned), so that a filter can tell them.
inline constexpr uint32_t kVcpuFdBlock = 1024;

std::vector<NeededSyscall> NeededSyscalls();
std::vector<NeededIoctl> NeededIoctls(int vm_fd, int first_vcpu_fd);

}  // namespace rampart::platform::kvm
