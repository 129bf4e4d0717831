// GroupTimers: the timers of a process: the three interval timers (setitimer(2)), POSIX timers (timer_create(2)), and the CPU limit.
//
// Model. A wall-clock timer is one time::Timer armed for its next expiry. Timers on CPU clocks are looked at together: one time::Timer fires when
// the earliest of them could expire if all processors ran the process, and is armed again until it has. Expiries that nobody has taken the
// signal of are counted as overruns: a timer has at most one signal pending.
// Thread safety: any thread. Lock order: mu_ is a leaf: it is taken under ThreadGroup::signal_mu_ (SignalTaken) and never held while a signal is sent, a
// process's usage is read, or a time::Timer is destroyed.
// Source: Linux kernel/time/itimer.c, posix-timers.c, posix-cpu-timers.c.
#pragma once

#include <array>
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
class ThreadGroup;

// What is left and how it repeats, in ns; value 0: not armed.
struct TimerSetting {
  Nanos value = 0;
  Nanos interval = 0;
};

enum class IntervalTimer : uint8_t { kReal = 0, kVirtual = 1, kProf = 2 };

// What an expiry does.
struct TimerNotice {
  enum class To : uint8_t { kNobody, kProcess, kThread };
  To to = To::kProcess;
  int signo = abi::kSigAlrm;
  uint64_t value = 0;
  bool value_is_id = false;  // no sigevent was given: sigval is the timer's id
  abi::Pid tid = 0;          // of kThread
};

enum class TimerStart : uint8_t { kRelative, kAbsolute };

class GroupTimers {
 public:
  explicit GroupTimers(ThreadGroup& group);
  ~GroupTimers();
  GroupTimers(const GroupTimers&) = delete;
  GroupTimers& operator=(const GroupTimers&) = delete;

  // --- interval timers
  TimerSetting GetInterval(IntervalTimer which);
  // Returns what was set.
  TimerSetting SetInterval(IntervalTimer which, TimerSetting setting);

  // --- POSIX timers. EINVAL: no such timer.
  // EAGAIN: too many.
  Result<int32_t> Create(const AppClock& clock, const TimerNotice& notice);
  Result<TimerSetting> GetTime(int32_t id);
  Result<TimerSetting> SetTime(int32_t id, TimerSetting setting, TimerStart start);
  Result<int32_t> Overrun(int32_t id);
  Result<void> Delete(int32_t id);
  // execve(2): POSIX timers go, interval timers stay.
  void DeletePosixTimers();
  std::vector<int32_t> List();   // for /proc/PID/timers
  // A signal with code SI_TIMER is taken from the queue: fills its overrun count in. Called under signal_mu_.
  void SignalTaken(abi::SigInfo& info);

  // RLIMIT_CPU may have changed.
  void CpuLimitChanged();
  // The process is gone: nothing expires any more. Idempotent.
  void Stop();

 private:
  struct Expiry;       // one signal to be sent, collected under mu_
  struct IntervalState {
    Nanos expires = 0;   // of its clock; 0: not armed
    Nanos interval = 0;
  };
  struct PosixTimer {
    AppClock clock;
    TimerNotice notice;
    Nanos expires = 0;
    Nanos interval = 0;
    uint64_t overrun = 0;       // expiries since the pending signal
    int32_t last_overrun = 0;   // of the signal that was taken last
    bool pending = false;       // a signal is queued
    std::unique_ptr<time::Timer> wall;
  };
  using Expiries = std::vector<Expiry>;

  void OnReal();
  void OnWall(int32_t id);
  void OnCpu();
  void ExpireInterval(IntervalState& state, Nanos now, int signo, Expiries& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ExpirePosix(int32_t id, PosixTimer& timer, Nanos now, Expiries& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ExpireLimit(Nanos used, Expiries& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Send(const Expiries& expiries);
  bool StillPending(const TimerNotice& notice) const;
  // Arms the CPU check for the earliest expiry. `slow`: the process used no CPU since the last check.
  void ArmCpu();
  TimerSetting Left(Nanos expires, Nanos interval, Nanos now) const;
  Nanos Clock(const AppClock& clock) const;   // kNanosMax when its thread is gone

  ThreadGroup& group_;
  Kernel& kernel_;
  absl::Mutex mu_;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  std::array<IntervalState, 3> intervals_ ABSL_GUARDED_BY(mu_);
  absl::btree_map<int32_t, std::unique_ptr<PosixTimer>> posix_ ABSL_GUARDED_BY(mu_);
  int32_t next_id_ ABSL_GUARDED_BY(mu_) = 0;
  bool limit_watched_ ABSL_GUARDED_BY(mu_) = false;
  Nanos limit_signal_at_ ABSL_GUARDED_BY(mu_) = 0;   // CPU time of the next SIGXCPU; 0: at the soft limit
  Nanos last_cpu_ ABSL_GUARDED_BY(mu_) = 0;          // usage at the last check
  Nanos pause_ ABSL_GUARDED_BY(mu_) = 0;             // of the last check
  time::Timer real_;
  time::Timer cpu_;
};

}  // namespace rampart::kernel
