// The parameter page ([vvar]): what the Sentry tells the vDSO about time. Shared between vdso.cc and vdso_image/; read by every application,
// so it holds nothing but clocks.
// Thread safety: written by the Sentry only, under `sequence` (odd while a change is going on).
#pragma once

#include <stdint.h>

namespace rampart::loader {

struct VdsoParams {
  uint32_t sequence;
  uint32_t use_tsc;             // 0: make real system calls
  uint64_t tsc_base;
  uint64_t monotonic_mult;      // nanoseconds per tick, 32 fractional bits
  int64_t monotonic_base;       // CLOCK_MONOTONIC at tsc_base
  uint64_t raw_mult;
  int64_t raw_base;             // CLOCK_MONOTONIC_RAW at tsc_base
  int64_t realtime_offset;      // CLOCK_REALTIME - CLOCK_MONOTONIC
  int64_t boottime_offset;      // CLOCK_BOOTTIME - CLOCK_MONOTONIC
};

// Time of `base` at tsc, given the value at tsc_base. A tsc slightly before the base (another core) counts as the base.
inline int64_t VdsoScale(uint64_t tsc, uint64_t tsc_base, uint64_t mult, int64_t base) {
  const uint64_t ticks = tsc > tsc_base ? tsc - tsc_base : 0;
  __extension__ using Wide = unsigned __int128;
  return base + static_cast<int64_t>(static_cast<uint64_t>((static_cast<Wide>(ticks) * mult) >> 32));
}

// The processor's counter, not read ahead of earlier loads nor after later ones.
inline uint64_t VdsoReadTsc() {
  uint32_t low, high;
  asm volatile("lfence; rdtsc; lfence" : "=a"(low), "=d"(high)::"memory");
  return static_cast<uint64_t>(high) << 32 | low;
}

}  // namespace rampart::loader
