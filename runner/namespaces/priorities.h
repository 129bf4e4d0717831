// What this process does to itself before it makes a sandbox, so that the sandbox's processes are born with it.
// Thread safety: none; REQUIRES: one thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"

namespace rampart::runner {

// sched_setattr(2) with a policy without priorities and a nice value, for this thread and its children. kPermissionDenied.
absl::Status SetScheduler(int policy, int nice);

// ioprio_set(2): class << 13 | level. kPermissionDenied.
absl::Status SetIoPriority(int priority);

// The children made from now on are in a time namespace of their own, with clocks that are ahead of ours. kPermissionDenied (it takes CAP_SYS_ADMIN), kInvalidArgument (a clock
// would be negative).
struct ClockOffset {
  int64_t seconds = 0;
  uint32_t nanoseconds = 0;
};
absl::Status OffsetClocksOfChildren(const std::map<std::string, ClockOffset>& offsets);

}  // namespace rampart::runner
