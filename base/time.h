// Times inside the kernel are signed nanoseconds. Deadline: an instant of the host's CLOCK_MONOTONIC, or never.
#pragma once

#include <cstdint>

namespace rampart {

using Nanos = int64_t;  // a duration or an instant; its clock is named where it is declared
inline constexpr Nanos kNanosPerSecond = 1'000'000'000;
inline constexpr Nanos kNanosPerMilli = 1'000'000;
inline constexpr Nanos kNanosMax = INT64_MAX;

// The host's CLOCK_MONOTONIC / CLOCK_REALTIME now (vDSO: no host call).
Nanos MonotonicNow();
Nanos RealtimeNow();

// Saturating.
constexpr Nanos SaturatingAdd(Nanos a, Nanos b) {
  Nanos out = 0;
  if (__builtin_add_overflow(a, b, &out)) return b > 0 ? INT64_MAX : INT64_MIN;
  return out;
}

// When a wait gives up. Value type.
class Deadline {
 public:
  static constexpr Deadline Never() { return Deadline(kNanosMax); }
  // Already past: a wait polls once.
  static constexpr Deadline Immediately() { return Deadline(INT64_MIN); }
  static constexpr Deadline At(Nanos monotonic) { return Deadline(monotonic); }
  static Deadline After(Nanos duration) { return Deadline(SaturatingAdd(MonotonicNow(), duration)); }
  constexpr bool never() const { return at_ == kNanosMax; }
  constexpr Nanos at() const { return at_; }
  bool Passed() const { return !never() && MonotonicNow() >= at_; }
  // Zero when passed; kNanosMax when never.
  Nanos Remaining() const;

 private:
  explicit constexpr Deadline(Nanos at) : at_(at) {}
  Nanos at_;
};

}  // namespace rampart
