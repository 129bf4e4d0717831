// Time limits as the calls that wait for files take them, and what is left of them afterwards.
// Thread safety: task thread.
#pragma once

#include <optional>

#include "abi/types.h"
#include "base/time.h"
#include "sentry/kernel/task.h"

namespace rampart::syscalls {

// A timespec or null (never). EINVAL: negative, or 10^9 nanoseconds and more. EFAULT.
Result<Deadline> ReadTimeout(kernel::Task& task, UserIn<abi::Timespec> from);
// select(2)'s: microseconds may be more than a second's worth.
Result<Deadline> ReadTimeout(kernel::Task& task, UserIn<abi::Timeval> from);
// Milliseconds; negative is never.
Deadline MillisTimeout(int32_t millis);
// Nanoseconds as a limit: zero asks once.
Deadline LimitOf(Nanos duration);

// Writes what is left of `deadline`, if `to` is not null.
Result<void> WriteRemaining(kernel::Task& task, UserOut<abi::Timespec> to, Deadline deadline);
Result<void> WriteRemaining(kernel::Task& task, UserOut<abi::Timeval> to, Deadline deadline);

// The signal mask of ppoll, pselect6, epoll_pwait for the time of one call.
class CallMask {
 public:
  // Null: the mask stays. EINVAL: size is not 8; EFAULT.
  static Result<CallMask> Apply(kernel::Task& task, UserIn<abi::SigSet> mask, uint64_t size);
  // At the end: puts the old mask back unless the call was interrupted; then delivery does so after the handler has its frame.
  void Finish(kernel::Task& task, bool interrupted);

 private:
  std::optional<abi::SigSet> old_;
};

}  // namespace rampart::syscalls
