// GroupTimers: the timers of a process: the three interval timers (setitimer(2)) and POSIX timers (timer_create(2)).
//
// Model. Each is one time::Timer, armed for its next expiry. On a CPU clock the next expiry is only known to be no earlier than if all
// processors ran the process: the timer looks again until it has come, at most every kCpuPause. Expiries that nobody has taken the signal of are counted as
// overruns: a timer has at most one signal pending.
// Thread safety: any thread. Lock order: mu_ is a leaf: taken under ThreadGroup::signal_mu_ (SignalTaken), never held while a signal is sent or a
// CPU clock is read.
// Ownership: by its ThreadGroup, through a shared_ptr (against the house rule): a callback that runs while the process is destroyed, perhaps under the
// kernel's locks, must find that out without making the destruction wait.
// Source: Linux kernel/time/itimer.c, posix-timers.c.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "abi/signal.h"
#include "abi/time.h"
#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/synchronization/mutex.h"
#include "base/result.h"
#include "base/time.h"
#include "sentry/kernel/cpu_clock.h"
#include "sentry/time/timer_queue.h"

namespace rampart::kernel {

class Kernel;

// What is left and how it repeats, in ns; value 0: not armed.
struct TimerSetting {
  Nanos value = 0;
  Nanos interval = 0;
};

enum class IntervalTimer : uint8_t { kReal = 0, kVirtual = 1, kProf = 2 };
enum class TimerStart : uint8_t { kRelative, kAbsolute };

// What an expiry does.
struct TimerNotice {
  enum class To : uint8_t { kNobody, kProcess, kThread };
  To to = To::kProcess;
  int signo = abi::kSigAlrm;
  uint64_t value = 0;
  bool value_is_id = false;  // no sigevent was given: sigval is the timer's id
  abi::Pid tid = 0;          // of kThread
};

class GroupTimers : public std::enable_shared_from_this<GroupTimers> {
 public:
  GroupTimers(Kernel& kernel, abi::Pid pid);
  GroupTimers(const GroupTimers&) = delete;
  GroupTimers& operator=(const GroupTimers&) = delete;

  // --- interval timers
  TimerSetting GetInterval(IntervalTimer which);
  // Returns what was set.
  TimerSetting SetInterval(IntervalTimer which, TimerSetting setting);

  // --- POSIX timers. EINVAL: no such timer.
  // EAGAIN: more than kMaxTimers.
  Result<int32_t> Create(const AppClock& clock, const TimerNotice& notice);
  Result<TimerSetting> GetTime(int32_t id);
  Result<TimerSetting> SetTime(int32_t id, TimerSetting setting, TimerStart start);
  // Of the signal that was taken last.
  Result<int32_t> Overrun(int32_t id);
  Result<void> Delete(int32_t id);
  // execve(2): POSIX timers go, interval timers stay.
  void DeletePosixTimers();
  // A signal with code SI_TIMER is taken from the queue: fills its overrun count in. May be called under signal_mu_.
  void SignalTaken(abi::SigInfo& info);

  // RLIMIT_CPU is `seconds` from now on (kRlimInfinity: none): SIGXCPU then and every second after, SIGKILL at the hard limit.
  void WatchCpuLimit(uint64_t seconds);

  static constexpr size_t kMaxTimers = 8192;
  static constexpr Nanos kCpuPause = 4 * kNanosPerMilli;
  // A repeating timer does not wake the Sentry more often than this; the expiries between are overruns.
  static constexpr Nanos kShortestPause = 50'000;

 private:
  struct AppTimer {
    AppClock clock;
    TimerNotice notice;
    Nanos expires = 0;          // of the clock; 0: not armed
    Nanos interval = 0;
    uint64_t overrun = 0;       // expiries since the pending signal
    int32_t last_overrun = 0;
    bool pending = false;       // a signal was sent and not yet seen taken
    std::unique_ptr<time::Timer> timer;
  };

  static constexpr int32_t kCpuLimitId = -4;
  std::unique_ptr<AppTimer> Make(int32_t id, const AppClock& clock, const TimerNotice& notice);
  void OnTimer(int32_t id);
  void Arm(AppTimer& timer, Nanos now, Nanos at_least) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  AppTimer* FindLocked(int32_t id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Result<AppClock> ClockOf(int32_t id);
  static TimerSetting Left(const AppTimer& timer, Nanos now);

  Kernel& kernel_;
  const abi::Pid pid_;
  absl::Mutex mu_;
  // By id; interval timers have the ids -1, -2, -3, the CPU limit has kCpuLimitId: no application sees them.
  absl::btree_map<int32_t, std::unique_ptr<AppTimer>> timers_ ABSL_GUARDED_BY(mu_);
  int32_t next_id_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace rampart::kernel
