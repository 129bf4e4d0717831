// Checked arithmetic on sizes and addresses that strangers gave us.
#pragma once

#include <cstdint>

#include "base/result.h"

namespace rampart {

inline constexpr uint64_t kPageSize = 4096;
inline constexpr uint64_t kPageMask = kPageSize - 1;

constexpr uint64_t PageDown(uint64_t x) { return x & ~kPageMask; }
constexpr bool PageAligned(uint64_t x) { return (x & kPageMask) == 0; }
// REQUIRES: x <= UINT64_MAX - 4095 (use CheckedPageUp for foreign numbers).
constexpr uint64_t PageUp(uint64_t x) { return (x + kPageMask) & ~kPageMask; }

// The sum, or `error` on overflow.
template <class T>
Result<T> CheckedAdd(T a, T b, Errno error = Errno::kEINVAL) {
  T out;
  if (__builtin_add_overflow(a, b, &out)) return error;
  return out;
}
template <class T>
Result<T> CheckedMul(T a, T b, Errno error = Errno::kEINVAL) {
  T out;
  if (__builtin_mul_overflow(a, b, &out)) return error;
  return out;
}
inline Result<uint64_t> CheckedPageUp(uint64_t x, Errno error = Errno::kENOMEM) {
  if (x > UINT64_MAX - kPageMask) return error;
  return PageUp(x);
}

}  // namespace rampart
