#include "sentry/kernel/cpu_clock.h"

#include "sentry/kernel/kernel.h"
#include "sentry/kernel/task.h"
#include "sentry/kernel/thread_group.h"
#include "sentry/loader/vdso.h"

namespace rampart::kernel {
namespace {

using Kind = AppClock::Kind;

// clockid_t of a CPU clock: the complement of a pid or tid, shifted by three; then "per thread" and the kind.
constexpr int32_t kPerThread = 4;
constexpr int32_t kKindMask = 3;

Result<AppClock> DecodeCpuClock(const Task& task, int32_t id, ClockUse use) {
  const int32_t kind = id & kKindMask;
  if (kind == 3) return Errno::kEINVAL;  // a descriptor of a dynamic clock
  AppClock clock;
  clock.cpu = static_cast<AppClock::Cpu>(kind);
  const abi::Pid pid = ~(id >> 3);
  if ((id & kPerThread) != 0) {
    clock.kind = Kind::kThread;
    clock.id = pid == 0 ? task.tid() : task.FromOwn(pid);
    const RefPtr<Task> target = task.kernel().FindTask(clock.id);
    if (target == nullptr || &target->group() != &task.group()) return Errno::kEINVAL;
    return clock;
  }
  clock.kind = Kind::kProcess;
  clock.id = pid == 0 ? task.group().pid() : task.FromOwn(pid);
  // Our own tid names our process when the clock is only read (Linux: pid_for_clock).
  if (use == ClockUse::kRead && clock.id == task.tid()) clock.id = task.group().pid();
  if (task.kernel().FindGroup(clock.id) == nullptr) return Errno::kEINVAL;
  return clock;
}

}  // namespace

Result<AppClock> DecodeClock(const Task& task, int32_t id, ClockUse use) {
  if (id < 0) return DecodeCpuClock(task, id, use);
  AppClock clock;
  switch (id) {
    case abi::kClockRealtime:
    case abi::kClockTai: clock.kind = Kind::kRealtime; break;
    case abi::kClockMonotonic: clock.kind = Kind::kMonotonic; break;
    case abi::kClockMonotonicRaw: clock.kind = Kind::kMonotonicRaw; break;
    case abi::kClockBoottime: clock.kind = Kind::kBoottime; break;
    case abi::kClockRealtimeCoarse: clock.kind = Kind::kRealtime, clock.coarse = true; break;
    case abi::kClockMonotonicCoarse: clock.kind = Kind::kMonotonic, clock.coarse = true; break;
    case abi::kClockRealtimeAlarm: clock.kind = Kind::kRealtime, clock.alarm = true; break;
    case abi::kClockBoottimeAlarm: clock.kind = Kind::kBoottime, clock.alarm = true; break;
    case abi::kClockProcessCpu: clock.kind = Kind::kProcess, clock.id = task.group().pid(); break;
    case abi::kClockThreadCpu: clock.kind = Kind::kThread, clock.id = task.tid(); break;
    default: return Errno::kEINVAL;
  }
  return clock;
}

Nanos ReadWallClock(Kernel& kernel, const AppClock& clock) {
  switch (clock.kind) {
    case Kind::kRealtime: return kernel.vdso().Now(loader::VdsoClock::kRealtime);
    case Kind::kMonotonicRaw: return kernel.vdso().Now(loader::VdsoClock::kMonotonicRaw);
    case Kind::kBoottime: return kernel.vdso().Now(loader::VdsoClock::kBoottime);
    default: return kernel.vdso().Now(loader::VdsoClock::kMonotonic);
  }
}

Nanos CpuTime(const ThreadGroup& group, AppClock::Cpu cpu) {
  const ResourceTotals usage = group.Usage();
  return cpu == AppClock::Cpu::kVirtual ? usage.user_time : usage.user_time + usage.system_time;
}

Nanos CpuTime(const Task& task, AppClock::Cpu cpu) {
  return cpu == AppClock::Cpu::kVirtual ? task.user_time() : task.user_time() + task.system_time();
}

Result<Nanos> ReadClock(Kernel& kernel, const AppClock& clock) {
  if (clock.kind == Kind::kThread) {
    const RefPtr<Task> task = kernel.FindTask(clock.id);
    if (task == nullptr) return Errno::kEINVAL;
    return CpuTime(*task, clock.cpu);
  }
  if (clock.kind == Kind::kProcess) {
    const RefPtr<ThreadGroup> group = kernel.FindGroup(clock.id);
    if (group == nullptr) return Errno::kEINVAL;
    return CpuTime(*group, clock.cpu);
  }
  return ReadWallClock(kernel, clock);
}

Nanos ClockResolution(const AppClock& clock) {
  constexpr Nanos kTick = 4 * kNanosPerMilli;  // Linux with CONFIG_HZ=250
  return clock.coarse ? kTick : 1;
}

Deadline DeadlineOf(Kernel& kernel, const AppClock& clock, Nanos at) {
  if (at == kNanosMax) return Deadline::Never();
  const Nanos left = SaturatingAdd(at, -ReadWallClock(kernel, clock));
  if (left <= 0) return Deadline::Immediately();
  return Deadline::After(left);
}

Result<Nanos> ToNanos(const abi::Timespec& t) {
  if (t.tv_sec < 0 || t.tv_nsec < 0 || t.tv_nsec >= kNanosPerSecond) return Errno::kEINVAL;
  if (t.tv_sec >= kNanosMax / kNanosPerSecond) return kNanosMax;
  return t.tv_sec * kNanosPerSecond + t.tv_nsec;
}

Result<Nanos> ToNanos(const abi::Timeval& t) {
  if (t.tv_sec < 0 || t.tv_usec < 0 || t.tv_usec >= 1'000'000) return Errno::kEINVAL;
  if (t.tv_sec >= kNanosMax / kNanosPerSecond) return kNanosMax;
  return t.tv_sec * kNanosPerSecond + t.tv_usec * 1000;
}

abi::Timespec ToTimespec(Nanos n) { return {n / kNanosPerSecond, n % kNanosPerSecond}; }
abi::Timeval ToTimeval(Nanos n) { return {n / kNanosPerSecond, n % kNanosPerSecond / 1000}; }

}  // namespace rampart::kernel
