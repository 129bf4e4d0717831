#include "sentry/syscalls/time_timers.h"

#include "sentry/fs/timerfd/timerfd.h"
#include "sentry/kernel/cpu_clock.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/thread_group.h"
#include "sentry/kernel/timers.h"
#include "sentry/syscalls/fd.h"

namespace rampart::syscalls {
namespace {

using kernel::AppClock;
using kernel::IntervalTimer;
using kernel::TimerNotice;
using kernel::TimerSetting;

Result<IntervalTimer> DecodeInterval(int32_t which) {
  if (which < abi::kItimerReal || which > abi::kItimerProf) return Errno::kEINVAL;
  return static_cast<IntervalTimer>(which);
}

abi::Itimerval ToItimerval(const TimerSetting& s) {
  // Less than a microsecond left is still left.
  const Nanos value = s.value > 0 && s.value < 1000 ? 1000 : s.value;
  return {kernel::ToTimeval(s.interval), kernel::ToTimeval(value)};
}
abi::Itimerspec ToItimerspec(Nanos value, Nanos interval) { return {kernel::ToTimespec(interval), kernel::ToTimespec(value)}; }

Result<TimerSetting> FromItimerspec(const abi::Itimerspec& spec) {
  TimerSetting s;
  s.value = TRY(kernel::ToNanos(spec.value));
  s.interval = TRY(kernel::ToNanos(spec.interval));
  return s;
}

Result<TimerNotice> DecodeEvent(kernel::Task& task, UserIn<abi::SigEvent> from) {
  TimerNotice notice;
  if (!from) {
    notice.value_is_id = true;
    return notice;
  }
  const abi::SigEvent event = TRY(task.CopyIn(from));
  notice.signo = event.signo;
  notice.value = event.value;
  switch (event.notify) {
    case abi::kSigevNone: notice.to = TimerNotice::To::kNobody; return notice;
    case abi::kSigevSignal:
    case abi::kSigevThread: break;
    case abi::kSigevSignal | abi::kSigevThreadId: {
      const RefPtr<kernel::Task> target = task.FindTask(event.tid);
      if (target == nullptr || &target->group() != &task.group()) return Errno::kEINVAL;
      notice.to = TimerNotice::To::kThread;
      notice.tid = target->tid();
      break;
    }
    default: return Errno::kEINVAL;
  }
  if (!abi::ValidSignal(event.signo)) return Errno::kEINVAL;
  return notice;
}

Result<Ref<fs::TimerFd>> GetTimerFd(kernel::Task& task, Fd fd) {
  const Ref<vfs::FileDescription> file = TRY(OpenedFile(task, fd));
  auto* const timer = dynamic_cast<fs::TimerFd*>(file.get());
  if (timer == nullptr) return Errno::kEINVAL;
  return ShareRef(timer);
}

}  // namespace

Result<Word> SysGetitimer(kernel::Task& task, int32_t which, UserOut<abi::Itimerval> out) {
  const IntervalTimer timer = TRY(DecodeInterval(which));
  TRY(task.CopyOut(out, ToItimerval(task.group().EnsureTimers().GetInterval(timer))));
  return Word{0};
}

Result<Word> SysSetitimer(kernel::Task& task, int32_t which, UserIn<abi::Itimerval> value, UserOut<abi::Itimerval> old) {
  TimerSetting setting;
  if (value) {
    const abi::Itimerval given = TRY(task.CopyIn(value));
    setting.value = TRY(kernel::ToNanos(given.value));
    setting.interval = TRY(kernel::ToNanos(given.interval));
  }
  const IntervalTimer timer = TRY(DecodeInterval(which));
  const TimerSetting before = task.group().EnsureTimers().SetInterval(timer, setting);
  if (old) TRY(task.CopyOut(old, ToItimerval(before)));
  return Word{0};
}

Result<Word> SysAlarm(kernel::Task& task, uint32_t seconds) {
  const TimerSetting before = task.group().EnsureTimers().SetInterval(IntervalTimer::kReal, {Nanos{seconds} * kNanosPerSecond, 0});
  if (before.value == 0) return Word{0};
  // Rounded to the nearest second, but never to 0 (Linux: alarm_setitimer).
  const Nanos rest = before.value % kNanosPerSecond;
  Nanos whole = before.value / kNanosPerSecond;
  if ((whole == 0 && rest > 0) || rest >= kNanosPerSecond / 2) ++whole;
  return static_cast<Word>(whole);
}

Result<Word> SysTimerCreate(kernel::Task& task, int32_t id, UserIn<abi::SigEvent> event, UserOut<int32_t> out) {
  const AppClock clock = TRY(kernel::DecodeClock(task, id, kernel::ClockUse::kTimer));
  if (clock.coarse || clock.alarm || clock.kind == AppClock::Kind::kMonotonicRaw) return Errno::kEOPNOTSUPP;
  const TimerNotice notice = TRY(DecodeEvent(task, event));
  kernel::GroupTimers& timers = task.group().EnsureTimers();
  const int32_t made = TRY(timers.Create(clock, notice));
  const Result<void> copied = task.CopyOut(out, made);
  if (!copied.ok()) {
    (void)timers.Delete(made);
    return copied.error();
  }
  return Word{0};
}

Result<Word> SysTimerSettime(kernel::Task& task, int32_t id, int32_t flags, UserIn<abi::Itimerspec> value, UserOut<abi::Itimerspec> old) {
  if (!value || id < 0) return Errno::kEINVAL;
  const abi::Itimerspec given = TRY(task.CopyIn(value));
  const TimerSetting setting = TRY(FromItimerspec(given));
  const auto start = (flags & abi::kTimerAbstime) != 0 ? kernel::TimerStart::kAbsolute : kernel::TimerStart::kRelative;
  const TimerSetting before = TRY(task.group().EnsureTimers().SetTime(id, setting, start));
  if (old) TRY(task.CopyOut(old, ToItimerspec(before.value, before.interval)));
  return Word{0};
}

Result<Word> SysTimerGettime(kernel::Task& task, int32_t id, UserOut<abi::Itimerspec> out) {
  if (id < 0) return Errno::kEINVAL;
  const TimerSetting left = TRY(task.group().EnsureTimers().GetTime(id));
  TRY(task.CopyOut(out, ToItimerspec(left.value, left.interval)));
  return Word{0};
}

Result<Word> SysTimerGetoverrun(kernel::Task& task, int32_t id) {
  if (id < 0) return Errno::kEINVAL;
  const int32_t count = TRY(task.group().EnsureTimers().Overrun(id));
  return static_cast<Word>(count);
}

Result<Word> SysTimerDelete(kernel::Task& task, int32_t id) {
  TRY(task.group().EnsureTimers().Delete(id));
  return Word{0};
}

Result<Word> SysTimerfdCreate(kernel::Task& task, int32_t id, int32_t flags) {
  if ((flags & ~(abi::kTfdNonblock | abi::kTfdCloexec)) != 0) return Errno::kEINVAL;
  const bool known = id == abi::kClockRealtime || id == abi::kClockMonotonic || id == abi::kClockBoottime || id == abi::kClockRealtimeAlarm ||
                     id == abi::kClockBoottimeAlarm;
  if (!known) return Errno::kEINVAL;
  const AppClock clock = TRY(kernel::DecodeClock(task, id, kernel::ClockUse::kTimer));
  if (clock.alarm && !task.creds().HasCapability(abi::Capability::kWakeAlarm)) return Errno::kEPERM;
  kernel::Kernel& kernel = task.kernel();
  const Ref<fs::TimerFd> file = fs::TimerFd::Create(
      kernel.timers(), [&kernel, clock] { return kernel::ReadWallClock(kernel, clock); }, id, static_cast<uint32_t>(flags));
  const Fd fd = TRY(task.fds().Install(file, (flags & abi::kTfdCloexec) != 0, task.limit(abi::Resource::kNofile)));
  return static_cast<Word>(fd);
}

Result<Word> SysTimerfdSettime(kernel::Task& task, Fd fd, int32_t flags, UserIn<abi::Itimerspec> value, UserOut<abi::Itimerspec> old) {
  const abi::Itimerspec given = TRY(task.CopyIn(value));
  const TimerSetting setting = TRY(FromItimerspec(given));
  if ((flags & ~(abi::kTfdTimerAbstime | abi::kTfdTimerCancelOnSet)) != 0) return Errno::kEINVAL;
  const Ref<fs::TimerFd> timer = TRY(GetTimerFd(task, fd));
  const fs::TimerFd::Setting before = timer->Set({setting.value, setting.interval}, (flags & abi::kTfdTimerAbstime) != 0);
  if (old) TRY(task.CopyOut(old, ToItimerspec(before.value, before.interval)));
  return Word{0};
}

Result<Word> SysTimerfdGettime(kernel::Task& task, Fd fd, UserOut<abi::Itimerspec> out) {
  const Ref<fs::TimerFd> timer = TRY(GetTimerFd(task, fd));
  const fs::TimerFd::Setting left = timer->Get();
  TRY(task.CopyOut(out, ToItimerspec(left.value, left.interval)));
  return Word{0};
}

}  // namespace rampart::syscalls
