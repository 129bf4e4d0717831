// Clocks, timers and their structures: clock_gettime(2), setitimer(2), timer_create(2), timerfd_create(2), adjtimex(2), times(2).
#pragma once

#include <cstdint>

#include "abi/types.h"

namespace rampart::abi {

inline constexpr int32_t kClockRealtime = 0, kClockMonotonic = 1, kClockProcessCpu = 2, kClockThreadCpu = 3, kClockMonotonicRaw = 4,
                         kClockRealtimeCoarse = 5, kClockMonotonicCoarse = 6, kClockBoottime = 7, kClockRealtimeAlarm = 8,
                         kClockBoottimeAlarm = 9, kClockTai = 11;
inline constexpr int32_t kTimerAbstime = 1;
inline constexpr int32_t kTfdTimerAbstime = 1, kTfdTimerCancelOnSet = 2;
inline constexpr int32_t kTfdNonblock = 04000, kTfdCloexec = 02000000;

struct Itimerval {
  Timeval interval, value;
};
struct Itimerspec {
  Timespec interval, value;
};
inline constexpr int32_t kItimerReal = 0, kItimerVirtual = 1, kItimerProf = 2;

inline constexpr int32_t kSigevSignal = 0, kSigevNone = 1, kSigevThread = 2, kSigevThreadId = 4;
struct SigEvent {
  uint64_t value = 0;
  int32_t signo = 0;
  int32_t notify = kSigevSignal;
  int32_t tid = 0;
  uint8_t rest[44] = {};
};
static_assert(sizeof(SigEvent) == 64);

struct Timezone {
  int32_t minutes_west = 0, dst_time = 0;
};

// clock_t values in units of 1/100 s.
struct Tms {
  int64_t utime, stime, cutime, cstime;
};

struct Timex {
  uint32_t modes = 0, pad0 = 0;
  int64_t offset = 0, freq = 0, maxerror = 0, esterror = 0;
  int32_t status = 0, pad1 = 0;
  int64_t constant = 0, precision = 0, tolerance = 0;
  Timeval time{};
  int64_t tick = 0, ppsfreq = 0, jitter = 0;
  int32_t shift = 0, pad2 = 0;
  int64_t stabil = 0, jitcnt = 0, calcnt = 0, errcnt = 0, stbcnt = 0;
  int32_t tai = 0;
  int32_t rest[11] = {};
};
static_assert(sizeof(Timex) == 208);
inline constexpr uint32_t kAdjOffsetReadonly = 0x2000, kAdjOffsetSsRead = 0xa001;
inline constexpr int32_t kStaUnsync = 0x40, kTimeError = 5;

}  // namespace rampart::abi
