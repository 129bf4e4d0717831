// UserMemory: application memory as the kernel reads and writes it. MemoryManager implements it; tests may use a flat fake.
// Permissions are those of the application's own mappings. Thread safety: any thread.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "base/safe_math.h"
#include "sentry/mm/io.h"
#include "sentry/mm/user_ptr.h"

namespace rampart::mm {

// An atomic operation on a user word: what futex needs.
enum class Atomic32Op { kLoad, kExchange, kAdd, kOr, kAnd, kXor, kCompareExchange };

class UserMemory {
 public:
  virtual ~UserMemory() = default;

  // Copies as much as possible; returns the count, EFAULT when it would be zero (and bytes is not empty).
  virtual Result<size_t> CopyInPartial(UserAddr from, std::span<std::byte> bytes) = 0;
  virtual Result<size_t> CopyOutPartial(UserAddr to, std::span<const std::byte> bytes) = 0;
  // Performs `op` atomically and returns the old value. Faults the page in for writing except for kLoad. EFAULT; EINVAL if unaligned.
  virtual Result<uint32_t> Atomic32(UserAddr address, Atomic32Op op, uint32_t operand, uint32_t expected = 0) = 0;
  // The same without faulting: never waits for a peer, so that it may be called under a futex bucket's lock. EAGAIN: the page is not there
  // (or not writable yet); the caller releases its locks, calls Atomic32 and tries again. The default just calls Atomic32.
  virtual Result<uint32_t> Atomic32NoFault(UserAddr address, Atomic32Op op, uint32_t operand, uint32_t expected = 0) {
    return Atomic32(address, op, operand, expected);
  }

  // All or EFAULT.
  Result<void> CopyInBytes(UserAddr from, std::span<std::byte> bytes);
  Result<void> CopyOutBytes(UserAddr to, std::span<const std::byte> bytes);
  Result<void> ZeroOut(UserAddr to, size_t n);
  // A NUL-terminated string of at most max-1 bytes. Errors: EFAULT; `too_long` when no NUL is within max bytes.
  Result<std::string> CopyInString(UserAddr from, size_t max, Errno too_long);

  template <Crossable T>
  Result<T> CopyIn(UserIn<T> from) {
    T value;
    TRY(CopyInBytes(from.address(), std::as_writable_bytes(std::span(&value, 1))));
    return value;
  }
  template <Crossable T>
  Result<void> CopyOut(UserOut<T> to, const T& value) {
    return CopyOutBytes(to.address(), std::as_bytes(std::span(&value, 1)));
  }
  // An array; `max` bounds the count (EINVAL above it).
  template <Crossable T>
  Result<std::vector<T>> CopyInArray(UserIn<T> from, size_t count, size_t max) {
    if (count > max) return Errno::kEINVAL;
    std::vector<T> values(count);
    TRY(CopyInBytes(from.address(), std::as_writable_bytes(std::span(values))));
    return values;
  }
  template <Crossable T>
  Result<void> CopyOutArray(UserOut<T> to, std::span<const T> values) {
    return CopyOutBytes(to.address(), std::as_bytes(values));
  }
};

}  // namespace rampart::mm
