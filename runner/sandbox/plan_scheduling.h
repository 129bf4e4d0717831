// What a specification says of a process's scheduling, I/O priority, personality and score, as the kernel inside is told of it.
// Thread safety: any thread.
#pragma once

#include "absl/status/statusor.h"
#include "runner/oci/spec.h"
#include "sentry/boot/boot.h"

namespace rampart::runner {

// kInvalidArgument: not what Linux has, or real-time and deadline scheduling, which a sandbox does not give: its threads wait for each other actively.
absl::StatusOr<sentry::boot::Scheduling> PlanScheduling(const oci::Process& process, const std::optional<oci::Personality>& personality);

}  // namespace rampart::runner
