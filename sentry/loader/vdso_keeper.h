// VdsoKeeper: recalibrates a Vdso for as long as it lives, at the times that the Vdso asks for.
// Thread safety: construction and destruction on one thread; works on the timer queue's. Ownership: member of whoever owns the timer queue.
#pragma once

#include "sentry/loader/vdso.h"
#include "sentry/time/timer_queue.h"

namespace rampart::loader {

class VdsoKeeper {
 public:
  // Without a vdso (tests) it does nothing. The queue may be started later.
  VdsoKeeper(time::TimerQueue& queue, RefPtr<Vdso> vdso) : vdso_(std::move(vdso)), timer_(queue, [this] { Again(); }) {
    if (vdso_ && vdso_->self_sufficient()) timer_.Arm(Deadline::After(kFirst));
  }

 private:
  static constexpr Nanos kFirst = 5 * kNanosPerMilli;
  void Again() {
    const Nanos next = vdso_->Recalibrate();
    if (next != kNanosMax) timer_.Arm(Deadline::After(next));
  }

  const RefPtr<Vdso> vdso_;
  time::Timer timer_;  // last: no callback runs once it has gone
};

}  // namespace rampart::loader
