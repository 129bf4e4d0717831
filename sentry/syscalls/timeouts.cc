#include "sentry/syscalls/timeouts.h"

#include <algorithm>

namespace rampart::syscalls {
namespace {

Result<Nanos> ToNanos(int64_t seconds, int64_t nanos) {
  if (seconds < 0 || nanos < 0 || nanos >= kNanosPerSecond) return Errno::kEINVAL;
  if (seconds >= kNanosMax / kNanosPerSecond) return kNanosMax;
  return seconds * kNanosPerSecond + nanos;
}

}  // namespace

Deadline LimitOf(Nanos duration) {
  if (duration <= 0) return Deadline::Immediately();
  return Deadline::After(duration);
}

Result<Deadline> ReadTimeout(kernel::Task& task, UserIn<abi::Timespec> from) {
  if (!from) return Deadline::Never();
  const abi::Timespec t = TRY(task.CopyIn(from));
  return LimitOf(TRY(ToNanos(t.tv_sec, t.tv_nsec)));
}

Result<Deadline> ReadTimeout(kernel::Task& task, UserIn<abi::Timeval> from) {
  if (!from) return Deadline::Never();
  const abi::Timeval t = TRY(task.CopyIn(from));
  int64_t seconds = 0;
  if (__builtin_add_overflow(t.tv_sec, t.tv_usec / 1'000'000, &seconds)) return Errno::kEINVAL;
  return LimitOf(TRY(ToNanos(seconds, t.tv_usec % 1'000'000 * 1000)));
}

Deadline MillisTimeout(int32_t millis) {
  if (millis < 0) return Deadline::Never();
  return LimitOf(millis * kNanosPerMilli);
}

Result<void> WriteRemaining(kernel::Task& task, UserOut<abi::Timespec> to, Deadline deadline) {
  if (!to || deadline.never()) return Ok();
  const Nanos left = std::max<Nanos>(deadline.Remaining(), 0);
  return task.CopyOut(to, abi::Timespec{left / kNanosPerSecond, left % kNanosPerSecond});
}

Result<void> WriteRemaining(kernel::Task& task, UserOut<abi::Timeval> to, Deadline deadline) {
  if (!to || deadline.never()) return Ok();
  const Nanos left = std::max<Nanos>(deadline.Remaining(), 0);
  return task.CopyOut(to, abi::Timeval{left / kNanosPerSecond, left % kNanosPerSecond / 1000});
}

Result<CallMask> CallMask::Apply(kernel::Task& task, UserIn<abi::SigSet> mask, uint64_t size) {
  CallMask applied;
  if (!mask) return applied;
  if (size != sizeof(abi::SigSet)) return Errno::kEINVAL;
  const abi::SigSet set = TRY(task.CopyIn(mask));
  applied.old_ = task.signal_mask();
  task.SetTemporaryMask(set);
  return applied;
}

void CallMask::Finish(kernel::Task& task, bool interrupted) {
  if (old_ && !interrupted) task.SetSignalMask(*old_);
}

}  // namespace rampart::syscalls
