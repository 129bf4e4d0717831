#include "runner/namespaces/priorities.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "runner/util/files.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

// linux/sched/types.h, which cannot be included beside sched.h: the first version of struct sched_attr.
struct SchedAttributes {
  uint32_t size;
  uint32_t policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime, deadline, period;
};

}  // namespace

absl::Status SetScheduler(int policy, int nice) {
  SchedAttributes attributes{};
  attributes.size = sizeof(attributes);
  attributes.policy = static_cast<uint32_t>(policy);
  attributes.nice = nice;
  if (::syscall(SYS_sched_setattr, 0, &attributes, 0) != 0) return SystemError("set the scheduling policy");
  return absl::OkStatus();
}

absl::Status SetIoPriority(int priority) {
  constexpr int kWhoProcess = 1;  // linux/ioprio.h
  if (::syscall(SYS_ioprio_set, kWhoProcess, 0, priority) != 0) return SystemError("set the I/O priority");
  return absl::OkStatus();
}

absl::Status OffsetClocksOfChildren(const std::map<std::string, ClockOffset>& offsets) {
  if (::unshare(CLONE_NEWTIME) != 0) return SystemError("make a time namespace");
  for (const auto& [clock, offset] : offsets) {
    const absl::Status written = WriteSmallFile("/proc/self/timens_offsets", absl::StrCat(clock, " ", offset.seconds, " ", offset.nanoseconds));
    if (!written.ok()) return absl::Status(written.code(), absl::StrCat("move the clock ", clock, ": ", written.message()));
  }
  return absl::OkStatus();
}

}  // namespace rampart::runner
