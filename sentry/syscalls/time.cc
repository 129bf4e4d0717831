#include "sentry/syscalls/time.h"

#include <algorithm>

#include "sentry/kernel/cpu_clock.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/thread_group.h"

namespace rampart::syscalls {
namespace {

using kernel::AppClock;

// Until `clock` shows `at`. Ok; kERESTARTSYS; EINVAL when a CPU clock's owner has gone.
Result<void> SleepUntil(kernel::Task& task, const AppClock& clock, Nanos at) {
  while (true) {
    const Nanos now = TRY(kernel::ReadClock(task.kernel(), clock));
    if (now >= at) return Ok();
    // A CPU clock runs at most as fast as all processors; then it is looked at again, not too often.
    const Nanos left = at - now;
    const Nanos pause = clock.is_cpu() ? std::max<Nanos>(left / task.kernel().cpus(), kNanosPerMilli) : left;
    const Result<void> slept = task.Sleep(at == kNanosMax ? Deadline::Never() : Deadline::After(pause));
    if (!slept.ok() && slept.error() != Errno::kETIMEDOUT) return slept;
  }
}

Result<Word> SleepRelative(kernel::Task& task, const AppClock& clock, Nanos at, UserOut<abi::Timespec> left) {
  const Result<void> slept = SleepUntil(task, clock, at);
  if (slept.ok()) return Word{0};
  if (slept.error() != Errno::kERESTARTSYS) return slept.error();
  if (left) {
    const Nanos now = TRY(kernel::ReadClock(task.kernel(), clock));
    TRY(task.CopyOut(left, kernel::ToTimespec(std::max<Nanos>(at - now, 0))));
  }
  task.SetRestart([clock, at, left](kernel::Task& again) { return SleepRelative(again, clock, at, left); });
  return Errno::kERESTART_RESTARTBLOCK;
}

int64_t Ticks(Nanos n) { return n / kernel::kClockTick; }

}  // namespace

Result<Word> SysClockGettime(kernel::Task& task, int32_t id, UserOut<abi::Timespec> out) {
  const AppClock clock = TRY(kernel::DecodeClock(task, id, kernel::ClockUse::kRead));
  const Nanos now = TRY(kernel::ReadClock(task.kernel(), clock));
  TRY(task.CopyOut(out, kernel::ToTimespec(now)));
  return Word{0};
}

Result<Word> SysClockGetres(kernel::Task& task, int32_t id, UserOut<abi::Timespec> out) {
  const AppClock clock = TRY(kernel::DecodeClock(task, id, kernel::ClockUse::kRead));
  if (out) TRY(task.CopyOut(out, kernel::ToTimespec(kernel::ClockResolution(clock))));
  return Word{0};
}

Result<Word> SysClockSettime(kernel::Task& task, int32_t id, UserIn<abi::Timespec> time) {
  if (id != abi::kClockRealtime) return Errno::kEINVAL;
  const abi::Timespec t = TRY(task.CopyIn(time));
  TRY(kernel::ToNanos(t));
  return Errno::kEPERM;
}

Result<Word> SysGettimeofday(kernel::Task& task, UserOut<abi::Timeval> time, UserOut<abi::Timezone> zone) {
  if (time) {
    AppClock clock;
    clock.kind = AppClock::Kind::kRealtime;
    TRY(task.CopyOut(time, kernel::ToTimeval(kernel::ReadWallClock(task.kernel(), clock))));
  }
  if (zone) TRY(task.CopyOut(zone, abi::Timezone{}));
  return Word{0};
}

Result<Word> SysSettimeofday(kernel::Task& task, UserIn<abi::Timeval> time, UserIn<abi::Timezone> zone) {
  if (time) {
    const abi::Timeval t = TRY(task.CopyIn(time));
    TRY(kernel::ToNanos(t));
  }
  if (zone) TRY(task.CopyIn(zone));
  return Errno::kEPERM;
}

Result<Word> SysTime(kernel::Task& task, UserOut<int64_t> out) {
  AppClock clock;
  clock.kind = AppClock::Kind::kRealtime;
  const int64_t seconds = kernel::ReadWallClock(task.kernel(), clock) / kNanosPerSecond;
  if (out) TRY(task.CopyOut(out, seconds));
  return static_cast<Word>(seconds);
}

Result<Word> SysNanosleep(kernel::Task& task, UserIn<abi::Timespec> request, UserOut<abi::Timespec> left) {
  const abi::Timespec t = TRY(task.CopyIn(request));
  const Nanos duration = TRY(kernel::ToNanos(t));
  const AppClock clock;
  return SleepRelative(task, clock, SaturatingAdd(kernel::ReadWallClock(task.kernel(), clock), duration), left);
}

Result<Word> SysClockNanosleep(kernel::Task& task, int32_t id, int32_t flags, UserIn<abi::Timespec> request, UserOut<abi::Timespec> left) {
  const AppClock clock = TRY(kernel::DecodeClock(task, id, kernel::ClockUse::kTimer));
  if (clock.coarse || clock.kind == AppClock::Kind::kMonotonicRaw || id == abi::kClockThreadCpu) return Errno::kEOPNOTSUPP;
  if (clock.kind == AppClock::Kind::kThread && clock.id == task.tid()) return Errno::kEINVAL;
  const abi::Timespec t = TRY(task.CopyIn(request));
  const Nanos given = TRY(kernel::ToNanos(t));
  if ((flags & abi::kTimerAbstime) == 0) {
    const Nanos now = TRY(kernel::ReadClock(task.kernel(), clock));
    return SleepRelative(task, clock, SaturatingAdd(now, given), left);
  }
  const Result<void> slept = SleepUntil(task, clock, given);
  if (slept.ok()) return Word{0};
  return slept.error() == Errno::kERESTARTSYS ? Errno::kERESTARTNOHAND : slept.error();
}

Result<Word> SysAdjtimex(kernel::Task& task, UserInOut<abi::Timex> timex) {
  abi::Timex t = TRY(task.CopyIn(UserIn<abi::Timex>(timex)));
  const bool only_reads = t.modes == 0 || t.modes == abi::kAdjOffsetReadonly || t.modes == abi::kAdjOffsetSsRead;
  if (!only_reads) return Errno::kEPERM;
  AppClock clock;
  clock.kind = AppClock::Kind::kRealtime;
  t = abi::Timex{};
  t.status = abi::kStaUnsync;
  t.maxerror = t.esterror = 16'000'000;
  t.constant = 2;
  t.precision = 1;
  t.tolerance = 32'768'000;
  t.tick = 10'000;
  t.time = kernel::ToTimeval(kernel::ReadWallClock(task.kernel(), clock));
  TRY(task.CopyOut(UserOut<abi::Timex>(timex), t));
  return Word{static_cast<uint64_t>(abi::kTimeError)};
}

Result<Word> SysClockAdjtime(kernel::Task& task, int32_t id, UserInOut<abi::Timex> timex) {
  TRY(kernel::DecodeClock(task, id, kernel::ClockUse::kRead));
  if (id != abi::kClockRealtime) return Errno::kEOPNOTSUPP;
  return SysAdjtimex(task, timex);
}

Result<Word> SysTimes(kernel::Task& task, UserOut<abi::Tms> out) {
  if (out) {
    const kernel::ResourceTotals own = task.group().Usage();
    const kernel::ResourceTotals children = task.group().ChildrenUsage();
    TRY(task.CopyOut(out, abi::Tms{Ticks(own.user_time), Ticks(own.system_time), Ticks(children.user_time), Ticks(children.system_time)}));
  }
  return static_cast<Word>(Ticks(kernel::ReadWallClock(task.kernel(), AppClock{})));
}

Result<Word> SysGetrusage(kernel::Task& task, int32_t who, UserOut<abi::Rusage> out) {
  kernel::ResourceTotals totals;
  switch (who) {
    case abi::kRusageSelf: totals = task.group().Usage(); break;
    case abi::kRusageChildren: totals = task.group().ChildrenUsage(); break;
    case abi::kRusageThread: totals = task.Usage(); break;
    default: return Errno::kEINVAL;
  }
  // The most that this program, or one before it in the process, has had in memory.
  if (who != abi::kRusageChildren) {
    totals.peak_resident_bytes = std::max({totals.peak_resident_bytes, task.group().Usage().peak_resident_bytes, task.mm().stats().peak_resident_bytes});
  }
  TRY(task.CopyOut(out, kernel::ToRusage(totals)));
  return Word{0};
}

}  // namespace rampart::syscalls
