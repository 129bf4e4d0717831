#include "sentry/kernel/timers.h"

#include <algorithm>

#include "abi/process.h"
#include "base/log.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/thread_group.h"

namespace rampart::kernel {
namespace {

int32_t IdOf(IntervalTimer which) { return -1 - static_cast<int32_t>(which); }

AppClock ClockOfInterval(IntervalTimer which, abi::Pid pid) {
  AppClock clock;
  if (which == IntervalTimer::kReal) return clock;
  clock.kind = AppClock::Kind::kProcess;
  clock.cpu = which == IntervalTimer::kVirtual ? AppClock::Cpu::kVirtual : AppClock::Cpu::kProf;
  clock.id = pid;
  return clock;
}

int SignalOfInterval(IntervalTimer which) {
  switch (which) {
    case IntervalTimer::kReal: return abi::kSigAlrm;
    case IntervalTimer::kVirtual: return abi::kSigVtalrm;
    default: return abi::kSigProf;
  }
}

abi::SigInfo InfoOf(int32_t id, const TimerNotice& notice, uint64_t overrun) {
  abi::SigInfo info;
  info.signo = notice.signo;
  info.code = id < 0 ? abi::kSiKernel : abi::kSiTimer;
  if (id >= 0) {
    info.SetTimer(id, static_cast<int32_t>(std::min<uint64_t>(overrun, INT32_MAX)));
    info.SetValue(notice.value_is_id ? static_cast<uint64_t>(id) : notice.value);
  }
  return info;
}

}  // namespace

GroupTimers::GroupTimers(Kernel& kernel, abi::Pid pid) : kernel_(kernel), pid_(pid) {}

std::unique_ptr<GroupTimers::AppTimer> GroupTimers::Make(int32_t id, const AppClock& clock, const TimerNotice& notice) {
  auto timer = std::make_unique<AppTimer>();
  timer->clock = clock;
  timer->notice = notice;
  const auto callback = [weak = weak_from_this(), id] {
    if (const std::shared_ptr<GroupTimers> self = weak.lock()) self->OnTimer(id);
  };
  timer->timer = std::make_unique<time::Timer>(kernel_.timers(), callback, time::Timer::OnDestroy::kDetach);
  return timer;
}

GroupTimers::AppTimer* GroupTimers::FindLocked(int32_t id) {
  const auto found = timers_.find(id);
  return found == timers_.end() ? nullptr : found->second.get();
}

Result<AppClock> GroupTimers::ClockOf(int32_t id) {
  absl::MutexLock lock(&mu_);
  const AppTimer* timer = FindLocked(id);
  if (timer == nullptr) return Errno::kEINVAL;
  return timer->clock;
}

TimerSetting GroupTimers::Left(const AppTimer& timer, Nanos now) {
  if (timer.expires == 0) return {0, timer.interval};
  return {std::max<Nanos>(timer.expires - now, 1), timer.interval};
}

void GroupTimers::Arm(AppTimer& timer, Nanos now, Nanos at_least) {
  if (timer.expires == 0 || timer.expires == kNanosMax) return timer.timer->Arm(Deadline::Never());
  Nanos left = std::max<Nanos>(timer.expires - now, 0);
  if (timer.clock.is_cpu()) left = std::max(left / std::max<Nanos>(kernel_.cpus(), 1), kCpuPause);
  timer.timer->Arm(Deadline::After(std::max(left, at_least)));
}

void GroupTimers::OnTimer(int32_t id) {
  // Keeps the process alive during the call; if this is the last reference, its timers go without waiting for us.
  const RefPtr<ThreadGroup> group = kernel_.FindGroup(pid_);
  if (group == nullptr || group->exited() || group->timers_if_any() != this) return;
  const Result<AppClock> clock = ClockOf(id);
  if (!clock.ok()) return;
  const Result<Nanos> now = ReadClock(kernel_, *clock);
  if (!now.ok()) return;
  if (id == kCpuLimitId) {
    const uint64_t hard = group->Limit(abi::Resource::kCpu).max;
    if (static_cast<uint64_t>(*now / kNanosPerSecond) >= hard) {
      Log(LogLevel::kInfo, "kernel: process %d has used the processor time that RLIMIT_CPU grants: it is killed", pid_);
      return group->Kill(abi::KilledStatus(abi::kSigKill, false));
    }
  }
  TimerNotice notice;
  {
    absl::MutexLock lock(&mu_);
    const AppTimer* timer = FindLocked(id);
    if (timer == nullptr) return;
    notice = timer->notice;
  }
  const RefPtr<Task> thread = notice.to == TimerNotice::To::kThread ? kernel_.FindTask(notice.tid) : nullptr;
  const abi::SigSet queued = thread ? thread->PendingSet() : group->PendingSet();
  abi::SigInfo info;
  {
    absl::MutexLock lock(&mu_);
    AppTimer* timer = FindLocked(id);
    if (timer == nullptr || timer->expires == 0) return;
    if (timer->expires > *now) return Arm(*timer, *now, 0);
    uint64_t count = 1;
    if (timer->interval > 0) {
      count += static_cast<uint64_t>((*now - timer->expires) / timer->interval);
      timer->expires += static_cast<Nanos>(count) * timer->interval;
    } else {
      timer->expires = 0;
    }
    Arm(*timer, *now, kShortestPause);
    if (notice.to == TimerNotice::To::kNobody) return;
    // Only if the signal is really still there: it may have been thrown away by SIG_IGN.
    if (timer->pending && (queued & abi::SigBit(notice.signo)) != 0) {
      timer->overrun += count;
      return;
    }
    timer->pending = id >= 0;
    timer->overrun = count - 1;
    info = InfoOf(id, notice, timer->overrun);
  }
  if (notice.to == TimerNotice::To::kProcess) {
    (void)group->SendSignal(info);
  } else if (thread && &thread->group() == group.get()) {
    (void)thread->SendSignal(info);
  }
}

TimerSetting GroupTimers::GetInterval(IntervalTimer which) { return GetTime(IdOf(which)).value_or(TimerSetting{}); }

TimerSetting GroupTimers::SetInterval(IntervalTimer which, TimerSetting setting) {
  const int32_t id = IdOf(which);
  {
    absl::MutexLock lock(&mu_);
    std::unique_ptr<AppTimer>& slot = timers_[id];
    if (slot == nullptr) {
      TimerNotice notice;
      notice.signo = SignalOfInterval(which);
      slot = Make(id, ClockOfInterval(which, pid_), notice);
    }
  }
  // Linux keeps no interval of an interval timer that is off.
  if (setting.value == 0) setting.interval = 0;
  return SetTime(id, setting, TimerStart::kRelative).value_or(TimerSetting{});
}

void GroupTimers::WatchCpuLimit(uint64_t seconds) {
  constexpr auto kMost = static_cast<uint64_t>(kNanosMax / kNanosPerSecond);
  {
    absl::MutexLock lock(&mu_);
    std::unique_ptr<AppTimer>& slot = timers_[kCpuLimitId];
    if (slot == nullptr) {
      TimerNotice notice;
      notice.signo = abi::kSigXcpu;
      slot = Make(kCpuLimitId, ClockOfInterval(IntervalTimer::kProf, pid_), notice);
    }
  }
  // A limit of 0 acts as one of a second (Linux: update_rlimit_cpu).
  const Nanos at = seconds > kMost ? 0 : static_cast<Nanos>(std::max<uint64_t>(seconds, 1)) * kNanosPerSecond;
  (void)SetTime(kCpuLimitId, {at, kNanosPerSecond}, TimerStart::kAbsolute);
}

Result<int32_t> GroupTimers::Create(const AppClock& clock, const TimerNotice& notice) {
  absl::MutexLock lock(&mu_);
  if (timers_.size() >= kMaxTimers) return Errno::kEAGAIN;
  while (timers_.contains(next_id_)) next_id_ = next_id_ == INT32_MAX ? 0 : next_id_ + 1;
  const int32_t id = next_id_;
  next_id_ = next_id_ == INT32_MAX ? 0 : next_id_ + 1;
  timers_[id] = Make(id, clock, notice);
  return id;
}

Result<TimerSetting> GroupTimers::GetTime(int32_t id) {
  const AppClock clock = TRY(ClockOf(id));
  const Nanos now = ReadClock(kernel_, clock).value_or(0);
  absl::MutexLock lock(&mu_);
  const AppTimer* timer = FindLocked(id);
  if (timer == nullptr) return Errno::kEINVAL;
  return Left(*timer, now);
}

Result<TimerSetting> GroupTimers::SetTime(int32_t id, TimerSetting setting, TimerStart start) {
  const AppClock clock = TRY(ClockOf(id));
  const Nanos now = ReadClock(kernel_, clock).value_or(0);
  absl::MutexLock lock(&mu_);
  AppTimer* timer = FindLocked(id);
  if (timer == nullptr) return Errno::kEINVAL;
  const TimerSetting old = Left(*timer, now);
  timer->interval = setting.interval;
  timer->expires = setting.value == 0 || start == TimerStart::kAbsolute ? setting.value : SaturatingAdd(now, setting.value);
  timer->overrun = 0;
  timer->last_overrun = 0;
  Arm(*timer, now, 0);
  return old;
}

Result<int32_t> GroupTimers::Overrun(int32_t id) {
  absl::MutexLock lock(&mu_);
  const AppTimer* timer = FindLocked(id);
  if (timer == nullptr) return Errno::kEINVAL;
  return timer->last_overrun;
}

Result<void> GroupTimers::Delete(int32_t id) {
  absl::MutexLock lock(&mu_);
  if (id < 0 || timers_.erase(id) == 0) return Errno::kEINVAL;
  return Ok();
}

void GroupTimers::DeletePosixTimers() {
  absl::MutexLock lock(&mu_);
  timers_.erase(timers_.lower_bound(0), timers_.end());
}

void GroupTimers::SignalTaken(abi::SigInfo& info) {
  const int32_t id = info.Get<int32_t>(0);
  absl::MutexLock lock(&mu_);
  AppTimer* timer = id < 0 ? nullptr : FindLocked(id);
  if (timer == nullptr || !timer->pending) return;
  timer->last_overrun = static_cast<int32_t>(std::min<uint64_t>(timer->overrun, INT32_MAX));
  timer->pending = false;
  timer->overrun = 0;
  info.SetTimer(id, timer->last_overrun);
}

}  // namespace rampart::kernel
