// The mounts of a plan: what the gofer exports, and what the kernel mounts where.
#pragma once

#include "runner/sandbox/plan.h"

namespace rampart::runner {

// Fills boot.mounts, exports and any_writable from the root and the mounts of `spec`.
absl::Status PlanMounts(const oci::Spec& spec, const SandboxOptions& options, Plan& plan);

// Whether the kernel inside has the character device.
bool KernelHasDevice(int64_t major, int64_t minor);

}  // namespace rampart::runner
