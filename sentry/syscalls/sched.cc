#include "sentry/syscalls/sched.h"

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "sentry/auth/identity.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/thread_group.h"

namespace rampart::syscalls {
namespace {

using kernel::Task;
using kernel::ThreadGroup;

constexpr int kMinNice = -20, kMaxNice = 19;
constexpr uint64_t kMaxOpenFiles = 1048576;  // fs.nr_open

// ESRCH.
Result<Ref<Task>> Target(Task& task, abi::Pid pid) {
  if (pid < 0) return Errno::kEINVAL;
  if (pid == 0 || pid == task.own_tid()) return ShareRef(&task);
  RefPtr<Task> found = task.FindTask(pid);
  if (found == nullptr) return Errno::kESRCH;
  return std::move(found).ToRef();
}

Result<void> CheckLimit(const Task& task, abi::Resource resource, const abi::Rlimit& old, const abi::Rlimit& wanted) {
  if (wanted.cur > wanted.max) return Errno::kEINVAL;
  if (resource == abi::Resource::kNofile && wanted.max > kMaxOpenFiles) return Errno::kEPERM;
  if (wanted.max > old.max && !task.creds().HasCapability(abi::Capability::kSysResource)) return Errno::kEPERM;
  return Ok();
}

// Tasks that getpriority's and ioprio's `which` and `who` mean.
Result<std::vector<Ref<Task>>> Selected(Task& task, int32_t which, int32_t who) {
  std::vector<Ref<Task>> out;
  if (which == abi::kPrioProcess) {
    if (who < 0) return Errno::kESRCH;
    out.push_back(TRY(Target(task, who)));
    return out;
  }
  if (which != abi::kPrioPgrp && which != abi::kPrioUser) return Errno::kEINVAL;
  const abi::Pid group_id = who != 0 ? task.FromOwn(who) : task.group().ProcessGroupId();
  if (which == abi::kPrioPgrp && group_id == 0) return Errno::kESRCH;
  const auto uid = who != 0 ? static_cast<abi::Uid>(who) : task.creds().ruid;
  for (const Ref<ThreadGroup>& group : task.kernel().Groups()) {
    if (which == abi::kPrioPgrp && group->ProcessGroupId() != group_id) continue;
    for (Ref<Task>& t : group->Tasks()) {
      if (which == abi::kPrioPgrp || (t->GetCreds()->ruid == uid && t->TidIn(task.pid_namespace()) != 0)) out.push_back(std::move(t));
    }
  }
  if (out.empty()) return Errno::kESRCH;
  return out;
}

Result<void> SetOneNice(Task& task, Task& target, int nice) {
  if (!auth::MaySchedule(task.creds(), *target.GetCreds())) return Errno::kEPERM;
  const bool may_raise = static_cast<uint64_t>(20 - nice) <= target.group().limit(abi::Resource::kNice) ||
                         task.creds().HasCapability(abi::Capability::kSysNice);
  if (nice < target.nice() && !may_raise) return Errno::kEACCES;
  target.SetNice(nice);
  return Ok();
}

bool KnownPolicy(int32_t policy) {
  return policy == abi::kSchedOther || policy == abi::kSchedFifo || policy == abi::kSchedRr || policy == abi::kSchedBatch ||
         policy == abi::kSchedIdle;
}
constexpr int32_t kSchedExt = 7;  // has a range, though no policy comes with it
// Of sched_setattr(2)'s flags: RECLAIM and DL_OVERRUN say something of deadlines only; there is no clamping of utilisation (CONFIG_UCLAMP_TASK).
constexpr uint64_t kReclaim = 2, kDeadlineOverrun = 4, kUtilClamps = 0x60;
bool RealTime(int32_t policy) { return policy == abi::kSchedFifo || policy == abi::kSchedRr; }

}  // namespace

Result<Word> SysPrlimit64(Task& task, abi::Pid pid, int32_t number, UserIn<abi::Rlimit> limit, UserOut<abi::Rlimit> old_out) {
  if (number < 0 || number >= abi::kResourceCount) return Errno::kEINVAL;
  const auto resource = static_cast<abi::Resource>(number);
  abi::Rlimit wanted{};
  if (limit) wanted = TRY(task.CopyIn(limit));
  if (pid < 0) return Errno::kESRCH;
  const Ref<Task> target = TRY(Target(task, pid));
  ThreadGroup& group = target->group();
  if (&group != &task.group() && !auth::MayTouchLimits(task.creds(), *target->GetCreds())) return Errno::kEPERM;
  const abi::Rlimit old = group.Limit(resource);
  if (limit) {
    TRY(CheckLimit(task, resource, old, wanted));
    group.SetLimit(resource, wanted);
    if (const RefPtr<mm::MemoryManager> mm = target->GetMm()) {
      mm->SetGrowthLimits(group.Limit(abi::Resource::kStack).cur, group.Limit(abi::Resource::kAs).cur);
    }
  }
  if (old_out) TRY(task.CopyOut(old_out, old));
  return Word{0};
}

Result<Word> SysGetrlimit(Task& task, int32_t resource, UserOut<abi::Rlimit> out) {
  if (resource < 0 || resource >= abi::kResourceCount) return Errno::kEINVAL;
  TRY(task.CopyOut(out, task.group().Limit(static_cast<abi::Resource>(resource))));
  return Word{0};
}

Result<Word> SysSetrlimit(Task& task, int32_t resource, UserIn<abi::Rlimit> limit) {
  const abi::Rlimit wanted = TRY(task.CopyIn(limit));
  if (resource < 0 || resource >= abi::kResourceCount) return Errno::kEINVAL;
  const auto r = static_cast<abi::Resource>(resource);
  TRY(CheckLimit(task, r, task.group().Limit(r), wanted));
  task.group().SetLimit(r, wanted);
  task.mm().SetGrowthLimits(task.limit(abi::Resource::kStack), task.limit(abi::Resource::kAs));
  return Word{0};
}

Result<Word> SysGetpriority(Task& task, int32_t which, int32_t who) {
  const std::vector<Ref<Task>> tasks = TRY(Selected(task, which, who));
  int best = kMaxNice;
  for (const Ref<Task>& t : tasks) best = std::min(best, t->nice());
  return static_cast<Word>(20 - best);
}

Result<Word> SysSetpriority(Task& task, int32_t which, int32_t who, int32_t nice) {
  nice = std::clamp(nice, kMinNice, kMaxNice);
  const std::vector<Ref<Task>> tasks = TRY(Selected(task, which, who));
  Result<void> result;
  for (const Ref<Task>& t : tasks) {
    const Result<void> one = SetOneNice(task, *t, nice);
    if (!one.ok()) result = one;
  }
  if (!result.ok()) return result.error();
  return Word{0};
}

Result<Word> SysSchedYield(Task&) { return Word{0}; }

namespace {

struct PolicyChange {
  int32_t policy = -1;       // negative: the present one
  bool reset_on_fork = false;
  bool keep_params = false;  // neither the policy nor what goes with it changes
  abi::SchedAttr attr{};     // its numbers; nice only if has_nice
  bool has_nice = false;
};

// Linux: __checkparam_dl, with the bounds that sysctl has at first.
bool ValidDeadline(const abi::SchedAttr& attr) {
  constexpr uint64_t kSmallestRuntime = 1024, kSmallestPeriod = 100'000, kLargestPeriod = (uint64_t{1} << 22) * 1000;
  const uint64_t period = attr.period != 0 ? attr.period : attr.deadline;
  if (attr.deadline == 0 || attr.runtime < kSmallestRuntime || ((attr.deadline | period) >> 63) != 0) return false;
  return attr.runtime <= attr.deadline && attr.deadline <= period && period >= kSmallestPeriod && period <= kLargestPeriod;
}

// Linux: __sched_setscheduler, without real-time and deadline classes: as where the group has no budget for them.
Result<Word> ChangePolicy(Task& task, abi::Pid pid, PolicyChange change) {
  const Ref<Task> target = TRY(Target(task, pid));
  Task::Scheduling now = target->scheduling();
  if (change.policy < 0) change.policy = now.policy, change.reset_on_fork = now.reset_on_fork;
  const int32_t policy = change.policy;
  const uint32_t priority = change.keep_params ? 0 : change.attr.priority;
  const bool deadline = policy == abi::kSchedDeadline;
  if ((!KnownPolicy(policy) && !deadline) || priority > 99) return Errno::kEINVAL;
  if ((deadline && !ValidDeadline(change.attr)) || RealTime(policy) != (priority > 0)) return Errno::kEINVAL;
  if (!auth::MaySchedule(task.creds(), *target->GetCreds())) return Errno::kEPERM;
  const bool privileged = task.creds().HasCapability(abi::Capability::kSysNice);
  if (RealTime(policy) || deadline || (now.reset_on_fork && !change.reset_on_fork && !privileged)) return Errno::kEPERM;
  const auto may_be = [&](int32_t nice) { return privileged || static_cast<uint64_t>(20 - nice) <= target->group().limit(abi::Resource::kNice); };
  if (now.policy == abi::kSchedIdle && policy != abi::kSchedIdle && !may_be(target->nice())) return Errno::kEPERM;
  const int32_t nice = change.attr.nice;
  const bool fair = policy != abi::kSchedIdle;
  if (change.has_nice && !change.keep_params && fair && nice != target->nice()) {
    if (nice < target->nice() && !may_be(nice)) return Errno::kEPERM;
    if ((change.attr.flags & kUtilClamps) == 0) target->SetNice(nice);
  }
  if ((change.attr.flags & kUtilClamps) != 0) return Errno::kEOPNOTSUPP;
  if (!change.keep_params) now.policy = policy;
  now.reset_on_fork = change.reset_on_fork;
  target->SetScheduling(std::move(now));
  return Word{0};
}

}  // namespace

Result<Word> SysSchedGetparam(Task& task, abi::Pid pid, UserOut<abi::SchedParam> out) {
  if (!out) return Errno::kEINVAL;
  TRY(Target(task, pid));
  TRY(task.CopyOut(out, abi::SchedParam{0}));
  return Word{0};
}

Result<Word> SysSchedSetscheduler(Task& task, abi::Pid pid, int32_t policy, UserIn<abi::SchedParam> param) {
  if (policy < 0 || !param || pid < 0) return Errno::kEINVAL;
  const abi::SchedParam given = TRY(task.CopyIn(param));
  if (given.priority < 0) return Errno::kEINVAL;
  PolicyChange change{.policy = policy & ~abi::kSchedResetOnForkFlag, .reset_on_fork = (policy & abi::kSchedResetOnForkFlag) != 0};
  change.attr.priority = static_cast<uint32_t>(given.priority);
  return ChangePolicy(task, pid, change);
}

Result<Word> SysSchedSetparam(Task& task, abi::Pid pid, UserIn<abi::SchedParam> param) {
  if (!param || pid < 0) return Errno::kEINVAL;
  const abi::SchedParam given = TRY(task.CopyIn(param));
  if (given.priority < 0) return Errno::kEINVAL;
  PolicyChange change;
  change.attr.priority = static_cast<uint32_t>(given.priority);
  return ChangePolicy(task, pid, change);
}

Result<Word> SysSchedGetscheduler(Task& task, abi::Pid pid) {
  const Task::Scheduling now = TRY(Target(task, pid))->scheduling();
  return static_cast<Word>(now.policy | (now.reset_on_fork ? abi::kSchedResetOnForkFlag : 0));
}

Result<Word> SysSchedSetattr(Task& task, abi::Pid pid, UserInOut<abi::SchedAttr> user, uint32_t flags) {
  if (!user || pid < 0 || flags != 0) return Errno::kEINVAL;
  uint32_t size = TRY(task.CopyIn(UserIn<uint32_t>(user.address())));
  if (size == 0) size = abi::kSchedAttrSizeVer0;
  if (size < abi::kSchedAttrSizeVer0 || size > kPageSize) {
    TRY(task.CopyOut(UserOut<uint32_t>(user.address()), static_cast<uint32_t>(sizeof(abi::SchedAttr))));
    return Errno::kE2BIG;
  }
  PolicyChange change{.has_nice = true};
  abi::SchedAttr& attr = change.attr;
  TRY(task.mm().CopyInBytes(user.address(), std::as_writable_bytes(std::span(&attr, 1)).first(std::min<size_t>(size, sizeof(attr)))));
  std::array<std::byte, kPageSize> more;
  const auto unknown = std::span(more).first(size > sizeof(attr) ? size - sizeof(attr) : 0);
  TRY(task.mm().CopyInBytes(user.address() + sizeof(attr), unknown));
  if (std::any_of(unknown.begin(), unknown.end(), [](std::byte b) { return b != std::byte{}; })) {
    TRY(task.CopyOut(UserOut<uint32_t>(user.address()), static_cast<uint32_t>(sizeof(abi::SchedAttr))));
    return Errno::kE2BIG;
  }
  if ((attr.flags & kUtilClamps) != 0 && size < sizeof(attr)) return Errno::kEINVAL;
  if (attr.policy > INT32_MAX) return Errno::kEINVAL;
  constexpr uint64_t kKnown = abi::kSchedFlagResetOnFork | kReclaim | kDeadlineOverrun | abi::kSchedFlagKeepPolicy | abi::kSchedFlagKeepParams | kUtilClamps;
  if ((attr.flags & ~kKnown) != 0) return Errno::kEINVAL;
  attr.nice = std::clamp(attr.nice, kMinNice, kMaxNice);
  if ((attr.flags & abi::kSchedFlagKeepPolicy) == 0) change.policy = static_cast<int32_t>(attr.policy);
  change.keep_params = (attr.flags & abi::kSchedFlagKeepParams) != 0;
  change.reset_on_fork = (attr.flags & abi::kSchedFlagResetOnFork) != 0;
  return ChangePolicy(task, pid, change);
}

Result<Word> SysSchedGetPriorityMax(Task&, int32_t policy) {
  if (!KnownPolicy(policy) && policy != abi::kSchedDeadline && policy != kSchedExt) return Errno::kEINVAL;
  return Word{RealTime(policy) ? 99u : 0u};
}

Result<Word> SysSchedGetPriorityMin(Task&, int32_t policy) {
  if (!KnownPolicy(policy) && policy != abi::kSchedDeadline && policy != kSchedExt) return Errno::kEINVAL;
  return Word{RealTime(policy) ? 1u : 0u};
}

Result<Word> SysSchedRrGetInterval(Task& task, abi::Pid pid, UserOut<abi::Timespec> out) {
  TRY(Target(task, pid));
  TRY(task.CopyOut(out, abi::Timespec{0, 4 * kNanosPerMilli}));
  return Word{0};
}

Result<Word> SysSchedGetaffinity(Task& task, abi::Pid pid, uint32_t size, UserOut<uint64_t> mask) {
  const std::vector<uint64_t> words = TRY(Target(task, pid))->AllowedProcessors();
  if (size < words.size() * 8 || size % 8 != 0) return Errno::kEINVAL;
  TRY(task.mm().CopyOutArray(mask, std::span<const uint64_t>(words)));
  return Word{words.size() * 8};
}

Result<Word> SysSchedSetaffinity(Task& task, abi::Pid pid, uint32_t size, uint64_t mask) {
  std::array<uint64_t, 128> given{};
  TRY(task.mm().CopyInBytes(mask, std::as_writable_bytes(std::span(given)).first(std::min<size_t>(size, sizeof(given)))));
  const Ref<Task> target = TRY(Target(task, pid));
  if (!auth::MaySchedule(task.creds(), *target->GetCreds())) return Errno::kEPERM;
  const uint32_t cpus = std::min<uint32_t>(task.kernel().cpus(), 64 * given.size());
  Task::Scheduling changed = target->scheduling();
  changed.allowed.assign((cpus + 63) / 64, 0);
  bool any = false;
  for (uint32_t i = 0; i < cpus; ++i) {
    const uint64_t bit = given[i / 64] & uint64_t{1} << (i % 64);
    changed.allowed[i / 64] |= bit;
    any = any || bit != 0;
  }
  if (!any) return Errno::kEINVAL;
  target->SetScheduling(std::move(changed));
  return Word{0};
}

Result<Word> SysSchedGetattr(Task& task, abi::Pid pid, UserOut<abi::SchedAttr> out, uint32_t size, uint32_t flags) {
  if (!out || flags != 0 || size < abi::kSchedAttrSizeVer0 || size > 4096) return Errno::kEINVAL;
  const Ref<Task> target = TRY(Target(task, pid));
  abi::SchedAttr attr;
  attr.size = std::min<uint32_t>(size, sizeof(attr));
  attr.nice = target->nice();
  const Task::Scheduling now = target->scheduling();
  attr.policy = static_cast<uint32_t>(now.policy);
  attr.flags = now.reset_on_fork ? abi::kSchedFlagResetOnFork : 0;
  TRY(task.mm().CopyOutBytes(out.address(), std::as_bytes(std::span(&attr, 1)).first(attr.size)));
  return Word{0};
}

// ioprio_set(2): a class, and a level of 0 to 7 in the lowest bits.
constexpr int32_t kIoprioWhoProcess = 1, kIoprioClassShift = 13, kIoprioLevels = 8;
enum IoprioClass : int32_t { kIoprioNone = 0, kIoprioRealTime = 1, kIoprioBestEffort = 2, kIoprioIdle = 3 };

namespace {

int32_t IoPriority(const Task::Scheduling& scheduling) { return scheduling.io ? scheduling.io->priority.load(std::memory_order_relaxed) : 0; }

// Where none is set, the nice value stands for one.
int32_t EffectiveIoPriority(const Task& task) {
  const Task::Scheduling now = task.scheduling();
  const int32_t set = IoPriority(now);
  if (set >> kIoprioClassShift != kIoprioNone) return set;
  return (now.policy == abi::kSchedIdle ? kIoprioIdle : kIoprioBestEffort) << kIoprioClassShift | (task.nice() + 20) / 5;
}

Result<void> CheckIoPriority(const Task& task, int32_t priority) {
  const int32_t level = priority & (kIoprioLevels - 1);
  switch (priority >> kIoprioClassShift) {
    case kIoprioRealTime:
      if (!task.creds().HasCapability(abi::Capability::kSysAdmin) && !task.creds().HasCapability(abi::Capability::kSysNice)) return Errno::kEPERM;
      return Ok();
    case kIoprioBestEffort:
    case kIoprioIdle:
      return Ok();
    case kIoprioNone:
      if (level != 0) return Errno::kEINVAL;
      return Ok();
    default:
      return Errno::kEINVAL;
  }
}

}  // namespace

Result<Word> SysIoprioGet(Task& task, int32_t which, int32_t who) {
  if (which < kIoprioWhoProcess) return Errno::kEINVAL;
  const std::vector<Ref<Task>> tasks = TRY(Selected(task, which - kIoprioWhoProcess, who));
  if (which == kIoprioWhoProcess) return static_cast<Word>(IoPriority(tasks.front()->scheduling()));
  int32_t best = INT32_MAX;
  for (const Ref<Task>& t : tasks) best = std::min(best, EffectiveIoPriority(*t));
  return static_cast<Word>(best);
}

Result<Word> SysIoprioSet(Task& task, int32_t which, int32_t who, int32_t priority) {
  TRY(CheckIoPriority(task, priority));
  if (which < kIoprioWhoProcess) return Errno::kEINVAL;
  for (const Ref<Task>& t : TRY(Selected(task, which - kIoprioWhoProcess, who))) {
    const auth::Credentials& own = task.creds();
    const abi::Uid owner = t->GetCreds()->ruid;
    if (owner != own.euid && owner != own.ruid && !own.HasCapability(abi::Capability::kSysNice)) return Errno::kEPERM;
    Task::Scheduling changed = t->scheduling();
    if (changed.io) {
      changed.io->priority.store(priority, std::memory_order_relaxed);
      continue;
    }
    changed.io = MakeRef<Task::IoContext>(priority);
    t->SetScheduling(std::move(changed));
  }
  return Word{0};
}

}  // namespace rampart::syscalls
