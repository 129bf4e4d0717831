// System calls without the C library: a worker's thread pointer may be anything, so nothing that touches errno may be called.
#pragma once

#include <cstdint>

namespace random_calls {

inline int64_t RawCall(int64_t number, const uint64_t (&args)[6]) {
  int64_t result;
  register uint64_t r10 asm("r10") = args[3];
  register uint64_t r8 asm("r8") = args[4];
  register uint64_t r9 asm("r9") = args[5];
  // SAFETY: the kernel clobbers rcx and r11 only; memory that it writes is the worker's own pools.
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(args[0]), "S"(args[1]), "d"(args[2]), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}

inline int64_t RawCall(int64_t number, uint64_t a = 0, uint64_t b = 0, uint64_t c = 0, uint64_t d = 0, uint64_t e = 0, uint64_t f = 0) {
  return RawCall(number, {a, b, c, d, e, f});
}

}  // namespace random_calls
