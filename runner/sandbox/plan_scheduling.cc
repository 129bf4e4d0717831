#include "runner/sandbox/plan_scheduling.h"

#include <sched.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "runner/util/status.h"

namespace rampart::runner {
namespace {

using sentry::boot::Scheduling;

absl::Status PlanPolicy(const oci::Scheduler& scheduler, Scheduling& out) {
  struct Policy {
    const char* name;
    int number;
  };
  static constexpr Policy kHere[] = {{"SCHED_OTHER", SCHED_OTHER}, {"SCHED_BATCH", SCHED_BATCH}, {"SCHED_IDLE", SCHED_IDLE}};
  static constexpr const char* kRefused[] = {"SCHED_FIFO", "SCHED_RR", "SCHED_DEADLINE", "SCHED_ISO"};
  const auto bad = [](const char* member, const std::string& what) { return UsageError(absl::StrCat("$.process.scheduler.", member, ": ", what)); };
  const auto here = std::find_if(std::begin(kHere), std::end(kHere), [&](const Policy& one) { return scheduler.policy == one.name; });
  if (here == std::end(kHere)) {
    const bool known = std::find(std::begin(kRefused), std::end(kRefused), scheduler.policy) != std::end(kRefused);
    return bad("policy", absl::StrCat("'", scheduler.policy, known ? "' is not given to sandboxes (" : "' is not a policy (", "SCHED_OTHER, SCHED_BATCH, SCHED_IDLE are)"));
  }
  out.policy = here->number;
  if (scheduler.nice < -20 || scheduler.nice > 19) return bad("nice", "must be between -20 and 19");
  out.nice = scheduler.nice;
  if (scheduler.priority != 0) return bad("priority", absl::StrCat("must be 0 with ", scheduler.policy));
  if (scheduler.runtime != 0 || scheduler.deadline != 0 || scheduler.period != 0) return bad("runtime", "runtime, deadline and period are SCHED_DEADLINE's");
  for (const std::string& flag : scheduler.flags) {
    if (flag != "SCHED_FLAG_RESET_ON_FORK") return bad("flags", absl::StrCat("'", flag, "' is not there (SCHED_FLAG_RESET_ON_FORK is)"));
    out.reset_on_fork = true;
  }
  return absl::OkStatus();
}

absl::Status PlanIoPriority(const oci::IoPriority& wanted, Scheduling& out) {
  static constexpr const char* kClasses[] = {"IOPRIO_CLASS_NONE", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"};  // by number
  const auto at = std::find(std::begin(kClasses) + 1, std::end(kClasses), wanted.io_class);
  if (at == std::end(kClasses)) {
    return UsageError(absl::StrCat("$.process.ioPriority.class: '", wanted.io_class, "' is not a class (IOPRIO_CLASS_RT, IOPRIO_CLASS_BE, IOPRIO_CLASS_IDLE are)"));
  }
  if (wanted.priority < 0 || wanted.priority > 7) return UsageError("$.process.ioPriority.priority: must be between 0 and 7");
  constexpr int kClassShift = 13;
  out.io_priority = static_cast<int32_t>(at - std::begin(kClasses)) << kClassShift | wanted.priority;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Scheduling> PlanScheduling(const oci::Process& process, const std::optional<oci::Personality>& personality) {
  Scheduling out;
  if (process.scheduler.has_value()) TRY_STATUS(PlanPolicy(*process.scheduler, out));
  if (process.io_priority.has_value()) TRY_STATUS(PlanIoPriority(*process.io_priority, out));
  if (personality.has_value()) {
    constexpr uint32_t kPerLinux32 = 8;  // linux/personality.h
    if (personality->domain != "LINUX" && personality->domain != "LINUX32") {
      return UsageError(absl::StrCat("$.linux.personality.domain: '", personality->domain, "' is not there (LINUX and LINUX32 are)"));
    }
    if (!personality->flags.empty()) return UsageError("$.linux.personality.flags: the specification knows none");
    if (personality->domain == "LINUX32") out.personality = kPerLinux32;
  }
  out.oom_score_adj = process.oom_score_adj.value_or(0);
  return out;
}

}  // namespace rampart::runner
