// TimerFd: a timer as a file (timerfd_create(2)).
//
// Model. One time::Timer for the next expiry. Once it has passed, nothing more is armed until the expiries are read: their number is then computed from the
// clock, so that a short interval costs nothing while nobody reads.
// Thread safety: any thread. Lock order: mu_ → TimerQueue's lock; the wait queue is told without mu_.
#pragma once

#include <functional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "sentry/time/timer_queue.h"
#include "sentry/vfs/file_description.h"

namespace rampart::fs {

class TimerFd final : public vfs::FileDescription {
 public:
  // The clock that it counts by, in ns.
  using Clock = std::function<Nanos()>;
  // `flags`: O_NONBLOCK. `clock_id`: for fdinfo.
  static Ref<TimerFd> Create(time::TimerQueue& queue, Clock clock, int32_t clock_id, uint32_t flags);

  // What is left (0: not armed) and how it repeats, in ns.
  struct Setting {
    Nanos value = 0;
    Nanos interval = 0;
  };
  Setting Get();
  // Returns what was set. `absolute`: value is an instant of the clock.
  Setting Set(Setting setting, bool absolute);

  bool seekable() const override { return false; }
  bool has_write() const override { return false; }
  bool pollable() const override { return true; }
  // The number of expiries since the last read. EINVAL: less than 8 bytes; EAGAIN: none.
  Result<size_t> Read(Caller& caller, mm::IoDst& dst, uint32_t flags) override;
  Result<uint64_t> Seek(Caller&, int64_t, int) override { return uint64_t{0}; }  // Linux: noop_llseek
  wait::EventMask Readiness(wait::EventMask mask) override;
  void EventRegister(wait::WaitEntry& entry, wait::EventMask mask) override { queue_.Register(entry, mask); }
  void EventUnregister(wait::WaitEntry& entry) override { queue_.Unregister(entry); }
  std::string FdInfo() const override;

 private:
  template <class T, class... A>
  friend Ref<T> rampart::MakeRef(A&&...);
  TimerFd(vfs::Path path, uint32_t flags, time::TimerQueue& queue, Clock clock, int32_t clock_id);

  void OnTimer();
  void ArmLocked(Nanos now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Setting LeftLocked(Nanos now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Clock clock_;
  const int32_t clock_id_;
  mutable absl::Mutex mu_;
  Nanos expires_ ABSL_GUARDED_BY(mu_) = 0;   // of the clock; 0: not armed
  Nanos interval_ ABSL_GUARDED_BY(mu_) = 0;
  bool expired_ ABSL_GUARDED_BY(mu_) = false;  // and not yet read
  wait::WaitQueue queue_;
  time::Timer timer_;  // last: its callback uses the rest
};

}  // namespace rampart::fs
