#include "base/time.h"

#include <ctime>

namespace rampart {
namespace {
Nanos HostClock(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<Nanos>(now.tv_sec) * kNanosPerSecond + now.tv_nsec;
}
}  // namespace

Nanos MonotonicNow() { return HostClock(CLOCK_MONOTONIC); }
Nanos RealtimeNow() { return HostClock(CLOCK_REALTIME); }

Nanos Deadline::Remaining() const {
  if (never()) return kNanosMax;
  const Nanos now = MonotonicNow();
  return at_ <= now ? 0 : at_ - now;
}

}  // namespace rampart
